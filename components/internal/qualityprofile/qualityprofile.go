// Package qualityprofile lists the quality profiles of the TRaSH guides that recyclarr has a template
// for: what Radarr and Sonarr look for, and what they prefer.
package qualityprofile

// Profile is one of them.
type Profile struct {
	// Template is what recyclarr calls it, and the settings.
	Template string
	// ID is the guides' own, their trash_id.
	ID string
	// Name is what it is called in Radarr or Sonarr.
	Name string
	// Sizes is the guides' list of how large a file may be.
	Sizes string
}

// The services that have quality profiles.
const (
	Radarr = "radarr"
	Sonarr = "sonarr"
)

// profiles are those of each service, sorted (recyclarr/config-templates, branch v8, templates.json
// of April 2026; the names are those in TRaSH-Guides/Guides, docs/json, of August 2026).
var profiles = map[string][]Profile{
	Radarr: {
		{"french-multi-vf-hd-bluray-web", "500ecc23572575511fd81893777d1e06", "[French MULTi.VF] HD Bluray + WEB", "movie"},
		{"french-multi-vf-hd-remux-web", "6b93fe45f357e9a94228e5d4658e9bb5", "[French MULTi.VF] HD Remux (1080p)", "movie"},
		{"french-multi-vf-uhd-bluray-web", "e64b266178c7f70e208f493f00e0e50a", "[French MULTi.VF] UHD Bluray + WEB", "movie"},
		{"french-multi-vf-uhd-remux-web", "595bb95c6b6970468880069dce23e1d2", "[French MULTi.VF] UHD Remux (2160p)", "movie"},
		{"french-multi-vo-hd-bluray-web", "2572ce3ea4eef1c19d59e0e20ed1cea7", "[French MULTi.VO] HD Bluray + WEB", "movie"},
		{"french-multi-vo-hd-remux-web", "c6460a102b312200c095a2d0982e0461", "[French MULTi.VO] HD Remux (1080p)", "movie"},
		{"french-multi-vo-uhd-bluray-web", "92ead7022d13a7858d54e328e6a2f8f9", "[French MULTi.VO] UHD Bluray + WEB", "movie"},
		{"french-multi-vo-uhd-remux-web", "1fef28c8c919f31cd86283b1baf527d4", "[French MULTi.VO] UHD Remux (2160p)", "movie"},
		{"french-vostfr-hd-bluray-web", "1addc08c4232bc2617684d517df15f75", "[French VOSTFR] HD Bluray + WEB", "movie"},
		{"french-vostfr-hd-remux-web", "d98f20924b001e9f6b9595d5440abc87", "[French VOSTFR] HD Remux (1080p)", "movie"},
		{"french-vostfr-uhd-bluray-web", "525bf0513e2ac22fe116e8d7bec0a6b5", "[French VOSTFR] UHD Bluray + WEB", "movie"},
		{"french-vostfr-uhd-remux-web", "9b32fc61d8ec83ed131f50f1db80505a", "[French VOSTFR] UHD Remux (2160p)", "movie"},
		{"hd-bluray-web", "d1d67249d3890e49bc12e275d989a7e9", "HD Bluray + WEB", "movie"},
		{"radarr-anime-remux-1080p", "722b624f9af1e492284c4bc842153a38", "[Anime] Remux-1080p", "anime"},
		{"radarr-german-anime-hd-bluray-web", "bf3cc2e99ad9a804a9b0d0e538e1fbba", "[German] Anime HD Bluray + WEB", "movie"},
		{"radarr-german-hd-bluray-web", "2b90e905c99490edc7c7a5787443748b", "[German] HD Bluray + WEB", "movie"},
		{"radarr-german-hd-remux-web", "c13c33fdd2c306266b34cb9946de5919", "[German] HD Remux + WEB", "movie"},
		{"radarr-german-uhd-bluray-web", "27cc3d153c0a799fd139ef1ff4c4cc42", "[German] UHD Bluray + WEB", "movie"},
		{"radarr-german-uhd-bluray-web-alternative", "425da1ba30711b55d2eb371437ec98d7", "[German] UHD Bluray + WEB (Alternative)", "movie"},
		{"radarr-german-uhd-remux-web", "79faa9943cef2f510b997b1f2a9f3ea6", "[German] Remux + WEB 2160p", "movie"},
		{"remux-2160p-alternative", "dd3cd75deb9645bae838d1c5da6388d5", "Remux 2160p (Alternative)", "movie"},
		{"remux-2160p-combined", "d1d310673359205736b4b84acd5ea8c8", "Remux 2160p (Combined)", "movie"},
		{"remux-web-1080p", "9ca12ea80aa55ef916e3751f4b874151", "Remux + WEB 1080p", "movie"},
		{"remux-web-2160p", "fd161a61e3ab826d3a22d53f935696dd", "Remux + WEB 2160p", "movie"},
		{"sqp-1-1080p", "0896c29d74de619df168d23b98104b22", "[SQP] SQP-1 (1080p)", "sqp-streaming"},
		{"sqp-1-2160p", "5128baeb2b081b72126bc8482b2a86a0", "[SQP] SQP-1 (2160p)", "sqp-streaming"},
		{"sqp-1-web-1080p", "90a3370d2d30cbaf08d9c23b856a12c8", "[SQP] SQP-1 WEB (1080p)", "sqp-streaming"},
		{"sqp-1-web-2160p", "e91c9adaca0231493f4af0d571b907f9", "[SQP] SQP-1 WEB (2160p)", "sqp-streaming"},
		{"sqp-2", "c3933358ba2356bafc41524f81471069", "[SQP] SQP-2", "sqp-uhd"},
		{"sqp-3", "2cf36c1f0106ffac993be003ade51865", "[SQP] SQP-3", "sqp-uhd"},
		{"sqp-3-audio", "0ada8e60cc3ddf2733b65de10f4a6c72", "[SQP] SQP-3 (Audio)", "sqp-uhd"},
		{"sqp-4", "013f89e6da27519fe56cf482702a2db9", "[SQP] SQP-4", "sqp-uhd"},
		{"sqp-4-ma-hybrid", "7526db7ac0a1f764793fb181864d0222", "[SQP] SQP-4 (MA Hybrid)", "sqp-uhd"},
		{"sqp-5", "a7bb1539fd147256b21b1098f3dc2016", "[SQP] SQP-5", "sqp-uhd"},
		{"uhd-bluray-web", "64fb5f9858489bdac2af690e27c8f42f", "UHD Bluray + WEB", "movie"},
	},
	Sonarr: {
		{"french-multi-vf-bluray-web-1080p", "58e8dc75731040612dd6f4ac0676bfd7", "[French MULTi.VF] HD Bluray + WEB (1080p)", "series"},
		{"french-multi-vf-bluray-web-2160p", "68c8b82ad2b7ea1941fce71eb56421c3", "[French MULTi.VF] UHD Bluray + WEB (2160p)", "series"},
		{"french-multi-vo-bluray-web-1080p", "4c48f506c1116a3a57ae33f12346bd15", "[French MULTi.VO] HD Bluray + WEB (1080p)", "series"},
		{"french-multi-vo-bluray-web-2160p", "6fa7364373e8f06206871d9c20a4fb3e", "[French MULTi.VO] UHD Bluray + WEB (2160p)", "series"},
		{"french-vostfr-bluray-web-1080p", "b34c968f58433a38e0e690d42a1dc37e", "[French VOSTFR] HD Bluray + WEB (1080p)", "series"},
		{"french-vostfr-bluray-web-2160p", "d6252dce6af535107ed4b03e68052ae8", "[French VOSTFR] UHD Bluray + WEB (2160p)", "series"},
		{"sonarr-anime-remux-1080p", "20e0fc959f1f1704bed501f23bdae76f", "[Anime] Remux-1080p", "anime"},
		{"sonarr-german-anime-hd-bluray-web", "6fe5937e1dcc2269e23b49eb46dfe6d6", "[German] Anime HD Bluray + WEB", "series"},
		{"sonarr-german-hd-bluray-web", "dca7e5e9e99c703bcbdaaa471dd40e98", "[German] HD Bluray + WEB", "series"},
		{"sonarr-german-hd-remux-web", "0dd5f085ed61a1e01f6d347779dfa1bc", "[German] HD Remux + WEB", "series"},
		{"sonarr-german-uhd-bluray-web", "3b0fa37fddaaefc931b75f2889d4b4f5", "[German] UHD Bluray + WEB", "series"},
		{"sonarr-german-uhd-bluray-web-alternative", "7324309a7d1e10dc0dc2cea6c70ed852", "[German] UHD Bluray + WEB (Alternative)", "series"},
		{"sonarr-german-uhd-remux-web", "08cececf1840290f6fd490b7d79e8642", "[German] UHD Remux + WEB", "series"},
		{"web-1080p", "72dae194fc92bf828f32cde7744e51a1", "WEB-1080p", "series"},
		{"web-1080p-alternative", "9d142234e45d6143785ac55f5a9e8dc9", "WEB-1080p (Alternative)", "series"},
		{"web-2160p", "d1498e7d189fbe6c7110ceaabb7473e6", "WEB-2160p", "series"},
		{"web-2160p-alternative", "dfa5eaae7894077ad6449169b6eb03e0", "WEB-2160p (Alternative)", "series"},
		{"web-2160p-combined", "c4cadd6b35b95f62c3d47a408e53e2f7", "WEB-2160p (Combined)", "series"},
	},
}

// Templates are the templates of a service, sorted.
func Templates(service string) []string {
	var out []string
	for _, p := range profiles[service] {
		out = append(out, p.Template)
	}
	return out
}

// Find returns the profile of a service's template.
func Find(service, template string) (Profile, bool) {
	for _, p := range profiles[service] {
		if p.Template == template {
			return p, true
		}
	}
	return Profile{}, false
}
