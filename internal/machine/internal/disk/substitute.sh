# substitute DEBIAN NAME EPOCH...: see Substitute. Runs in the disk's file system.
cd /tmp/substitutes
apt-get -qq update
while [ $# -gt 0 ]; do
	apt-get -qq download "$1"
	dpkg-deb --raw-extract "$1"_*.deb content
	rm "$1"_*.deb
	sed -i -E "s/^Package: .*/Package: $2/; s/^Version: /Version: $3:/; /^(Source|Conflicts|Breaks|Replaces|Recommends|Suggests|Enhances|Built-Using|Static-Built-Using):/d" \
		content/DEBIAN/control
	dpkg-deb -Zgzip --root-owner-group --build content "$2".deb
	rm -r content
	shift 3
done
