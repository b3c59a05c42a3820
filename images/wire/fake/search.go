package fake

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
)

// asked returns the indexer of a request in Torznab's form by who has the key, or answers.
func (p *Prowlarr) asked(w http.ResponseWriter, r *http.Request) object {
	p.mutex.Lock()
	key := p.key
	p.mutex.Unlock()
	if r.URL.Query().Get("apikey") != key {
		http.Error(w, "wrong key", http.StatusUnauthorized)
		return nil
	}
	for _, name := range p.indexers.names() {
		if item := p.indexers.named(name); fmt.Sprint(item["id"]) == r.PathValue("id") {
			return item
		}
	}
	if r.PathValue("id") == "0" && r.URL.Query().Get("t") == "caps" {
		return object{} // what an application is tested with
	}
	http.Error(w, "no such indexer", http.StatusNotFound)
	return nil
}

// search answers for an indexer. The links of what it finds lead to itself.
func (p *Prowlarr) search(w http.ResponseWriter, r *http.Request) {
	item := p.asked(w, r)
	query := r.URL.Query()
	switch {
	case item == nil:
		return
	case query.Get("t") == "caps":
		fmt.Fprint(w, "<caps/>")
		return
	case item["implementation"] != "Torznab":
		fmt.Fprint(w, "<rss><channel></channel></rss>") // a public indexer has nothing here
		return
	}
	found, err := torznab(item, url.Values{"t": {"search"}, "q": {query.Get("q")}})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	var results rss
	if err := xml.Unmarshal(found, &results); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	for i, result := range results.Items {
		more := url.Values{"apikey": {query.Get("apikey")}, "file": {result.Title},
			"link": {base64.RawURLEncoding.EncodeToString([]byte(result.Link))}}
		results.Items[i].Link = fmt.Sprintf("http://%s/%s/download?%s", r.Host, r.PathValue("id"), more.Encode())
	}
	_ = xml.NewEncoder(w).Encode(results)
}

// download fetches a torrent for who may not reach the indexer.
func (p *Prowlarr) download(w http.ResponseWriter, r *http.Request) {
	if p.asked(w, r) == nil {
		return
	}
	link, err := base64.RawURLEncoding.DecodeString(r.URL.Query().Get("link"))
	if err != nil || len(link) == 0 || r.URL.Query().Get("file") == "" {
		http.Error(w, "Invalid Prowlarr link", http.StatusBadRequest)
		return
	}
	torrent, err := fetch(http.MethodGet, string(link), nil, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-bittorrent")
	_, _ = w.Write(torrent)
}
