# Tries from inside every container's network what it could reach, as root on the machine. It asks neither Docker's engine nor anything in
# the containers, so it works while the one is restarted and needs no program in the others. It prints what it found as JSON; who may reach
# whom it does not know.
import ctypes
import errno
import glob
import json
import os
import re
import resource
import select
import socket
import struct
import sys
import time

ask = json.loads(sys.argv[1])
CLOSED = ask["closed"]  # a port that nobody listens at: a refusal says that packets get through
libc = ctypes.CDLL(None, use_errno=True)
NEW_NETWORK = 0x40000000  # CLONE_NEWNET
# Errors that say that nothing leads there from here.
NO_WAY = (errno.EAFNOSUPPORT, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM, errno.EINVAL)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def address(text):
    """An address as /proc/net has it: words of 32 bits, each in the machine's order."""
    raw = b"".join(struct.pack("=I", int(text[i : i + 8], 16)) for i in range(0, len(text), 8))
    plain = socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
    return plain.removeprefix("::ffff:") if "." in plain else plain


def loopback(a):
    return a.startswith("127.") or a == "::1"


def running():
    """The containers that run: their name and the number of their main process."""
    out = {}
    for path in glob.glob(ask["cgroups"] + "/**/cgroup.procs", recursive=True):
        found = re.search(r"/(?:docker-|docker/)([0-9a-f]{64})(?:\.scope)?/cgroup\.procs$", path)
        try:
            processes = [int(line) for line in read(path).split()] if found else []
            if processes:
                config = json.loads(read(f"{ask['engine']}/containers/{found[1]}/config.v2.json"))
                main = config.get("State", {}).get("Pid")
                out[config["Name"].lstrip("/")] = main if main in processes else min(processes)
        except (OSError, ValueError):
            continue  # it has just ended, or is only being made
    return out


def addresses(pid):
    """The addresses of a network, without the loopback's."""
    out, last = set(), ""
    for line in read(f"/proc/{pid}/net/fib_trie").splitlines():
        if found := re.search(r"\|-- (\S+)", line):
            last = found[1]
        elif "/32 host LOCAL" in line:
            out.add(last)
    try:
        for line in read(f"/proc/{pid}/net/if_inet6").splitlines():
            out.add(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])))
    except FileNotFoundError:
        pass  # a kernel without IPv6
    return sorted(a for a in out if not loopback(a))


def listening(pid):
    """The TCP ports that somebody listens at in a network, each with its address."""
    out = set()
    for table in "tcp", "tcp6":
        try:
            lines = read(f"/proc/{pid}/net/{table}").splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            words = line.split()
            if words[3] == "0A":  # LISTEN
                at, port = words[1].split(":")
                if not loopback(address(at)):
                    out.add((address(at), int(port, 16)))
    return sorted(out)


def mounts(pid):
    """What is mounted: device, the part of the file system, and where."""
    for line in read(f"/proc/{pid}/mountinfo").splitlines():
        words = line.split()
        yield words[2], words[3], words[4]


def below(path, folder):
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def places(sockets):
    """Where the machine's own sockets are: on which device, and where in its file system."""
    out = {}
    for path in sockets:
        real = os.path.realpath(path)
        if os.path.exists(real):
            device, root, point = max((m for m in mounts("self") if below(real, m[2])), key=lambda m: len(m[2]))
            out[path] = device, os.path.normpath(os.path.join(root, os.path.relpath(real, point)))
    return out


def has(pid, place):
    """Whether a process's mounts hold a socket, by itself or with a folder that it is in."""
    return any(device == place[0] and below(place[1], root) for device, root, _ in mounts(pid))


class Space:
    """A network: the machine's, or that of the containers which share it."""

    def __init__(self, pid, network=None):
        self.pid, self.names, self.network = pid, [], network
        self.addresses, self.listening = addresses(pid), listening(pid)

    def ports(self, a):
        """What listens at an address."""
        wild = ("0.0.0.0", "::") if ":" not in a else ("::",)
        return sorted({port for at, port in self.listening if at == a or at in wild})


def targets(space, others, machine):
    """What is tried from a network: protocol, address, port."""
    for other in [s for s in others if s is not space] + [machine]:
        for a in other.addresses:
            ports = other.ports(a) + [CLOSED] + (ask["ports"] if other is machine else [])
            for port in sorted(set(ports)):
                yield "tcp", a, port
            yield "udp", a, CLOSED
            yield "icmp", a, 0
    for t in ask["targets"]:
        yield t["protocol"], t["address"], t["port"]


def echo(number, version):
    head = struct.pack("!BBHHH", 128 if version == 6 else 8, 0, 0, number, 1)
    if version == 6:
        return head  # the kernel makes the sum
    total = sum(struct.unpack("!4H", head))
    total = (total >> 16) + (total & 0xFFFF)
    return struct.pack("!BBHHH", 8, 0, ~total & 0xFFFF, number, 1)


class Tries:
    """All that is under way from one network."""

    def __init__(self):
        self.poll, self.open, self.answers = select.poll(), {}, []
        self.pings, self.number = {}, os.getpid() & 0xFFFF
        self.links = {name: number for number, name in socket.if_nameindex() if name != "lo"}
        self.outside = {(t["protocol"], t["address"], t["port"]) for t in ask["targets"]}

    def ends(self, target):
        """The address as sockets take it, and the link to leave by. One of a link's own is tried by every link, and what is outside by
        every link but a tunnel's: what leaves through a tunnel is the tunnel's business."""
        _, a, port = target
        if a.lower().startswith("fe80:"):
            return [((a, port, 0, number), None) for number in self.links.values()]
        end = (a, port, 0, 0) if ":" in a else (a, port)
        if target not in self.outside:
            return [(end, None)]
        return [(end, name) for name in self.links if not name.startswith(("tun", "wg"))]

    def answered(self, target, answer):
        self.answers.append({"protocol": target[0], "address": target[1], "port": target[2], "answer": answer})

    def begin(self, target):
        protocol, a, _ = target
        family = socket.AF_INET6 if ":" in a else socket.AF_INET
        for end, link in self.ends(target):
            try:
                if protocol == "icmp":
                    self.ping(family, end)
                    continue
                s = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
            except OSError as e:
                if e.errno in NO_WAY:
                    continue
                raise
            s.setblocking(False)
            if link:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
            failed = s.connect_ex(end)
            if failed not in (0, errno.EINPROGRESS):
                if failed == errno.ECONNREFUSED:
                    self.answered(target, "refused")
                s.close()
                continue
            if protocol == "udp":
                try:
                    s.send(bytes.fromhex(ask["question"]))
                except OSError:
                    s.close()
                    continue
            self.open[s.fileno()] = s, target
            self.poll.register(s, select.POLLOUT if protocol == "tcp" else select.POLLIN)

    def ping(self, family, end):
        version = 6 if family == socket.AF_INET6 else 4
        if version not in self.pings:
            kind = socket.IPPROTO_ICMPV6 if version == 6 else socket.IPPROTO_ICMP
            self.pings[version] = s = socket.socket(family, socket.SOCK_RAW, kind)
            s.setblocking(False)
            self.open[s.fileno()] = s, ("icmp", "", 0)
            self.poll.register(s, select.POLLIN)
        self.pings[version].sendto(echo(self.number, version), end[:1] + (0,) + end[2:])

    def pong(self, s):
        data, sender = s.recvfrom(2048)
        if s.family == socket.AF_INET:
            data = data[(data[0] & 15) * 4 :]
        kind, number = data[0], struct.unpack("!H", data[4:6])[0]
        if kind in (0, 129) and number == self.number:
            self.answered(("icmp", sender[0].split("%")[0], 0), "open")

    def take(self, s, target):
        """One socket has something to say; reports whether it may have more."""
        if target[0] == "icmp":
            self.pong(s)
            return True
        if target[0] == "tcp":
            failed = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        else:
            try:
                s.recv(2048)
                failed = 0
            except OSError as e:
                failed = e.errno
        if failed in (0, errno.ECONNREFUSED):
            self.answered(target, "refused" if failed else "open")
        return False

    def wait(self, until):
        while (left := until - time.monotonic()) > 0 and self.open:
            for number, _ in self.poll.poll(left * 1000):
                s, target = self.open[number]
                if not self.take(s, target):
                    self.poll.unregister(s)
                    del self.open[number]
                    s.close()


def attempt(space, wanted):
    """Tries from inside a network; the calling process is in it afterwards."""
    if libc.setns(space.network, NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")
    tries, count = Tries(), 0
    for target in wanted:
        tries.begin(target)
        count += 1
    tries.wait(time.monotonic() + ask["patience"])
    return {"tried": count, "answers": tries.answers}


def apart(space, wanted):
    """attempt in a process of its own; returns where its answer comes from."""
    here, there = os.pipe()
    child = os.fork()
    if child:
        os.close(there)
        return child, here
    try:
        said = attempt(space, wanted)
    except Exception as e:  # the parent hears of whatever went wrong
        said = {"failed": f"{type(e).__name__}: {e}"}
    with os.fdopen(there, "w") as f:
        json.dump(said, f)
    os._exit(0)


def main():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192) if most > 0 else 8192, most))
    machine, spaces, out = Space("self"), {}, {"containers": [], "spaces": [], "machine": {}}
    own, sockets = os.stat("/proc/self/ns/net").st_ino, places(ask["sockets"])
    for name, pid in sorted(running().items()):
        try:
            # The network is held open: the process may be in another one when it is its turn.
            network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            number = os.fstat(network).st_ino
            held = [path for path, place in sockets.items() if has(pid, place)]
            if number != own and number not in spaces:
                spaces[number] = Space(pid, network)
        except (OSError, IndexError):
            continue  # it has just ended
        out["containers"].append({"name": name, "ofMachine": number == own, "sockets": held})
        if number != own:
            spaces[number].names.append(name)
    machine.addresses = sorted(set(machine.addresses) | set(ask["machine"]))
    out["machine"] = {"addresses": machine.addresses}
    waiting, everybody = list(spaces.values()), list(spaces.values())
    while waiting:
        batch, waiting = waiting[: ask["atOnce"]], waiting[ask["atOnce"] :]
        for space, (child, pipe) in [(s, apart(s, list(targets(s, everybody, machine)))) for s in batch]:
            with os.fdopen(pipe) as f:
                said = json.load(f)
            os.waitpid(child, 0)
            # The network of a container that ended meanwhile leads nowhere any more.
            if not os.path.exists(f"/proc/{space.pid}/ns/net"):
                said = {"answers": said.get("answers", []), "gone": True}
            ports = sorted({port for _, port in space.listening})
            out["spaces"].append({"containers": space.names, "addresses": space.addresses, "listening": ports, **said})
    json.dump(out, sys.stdout)


main()
