package fake

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// What the apps say of themselves to who measures them. The real ones ignore a parameter that they
// do not know; these refuse it, and every one that nobody needs.

// asks reports whether the parameters of a request are among those that the app knows, or answers.
func asks(w http.ResponseWriter, query url.Values, known ...string) bool {
	for name := range query {
		if !slices.Contains(known, name) {
			answer(w, http.StatusBadRequest, object{"message": "no such parameter: " + name})
			return false
		}
	}
	return true
}

// measures adds what Radarr, Sonarr and Prowlarr have in common.
func (a *arr) measures() {
	a.route("GET /health", func(w http.ResponseWriter, r *http.Request) {
		if asks(w, r.URL.Query()) {
			a.mutex.Lock()
			defer a.mutex.Unlock()
			answer(w, http.StatusOK, append([]object{}, a.issues...))
		}
	})
}

// SetHealth sets the problems that it sees: of each its type, such as "error".
func (a *arr) SetHealth(types ...string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.issues = nil
	for i, kind := range types {
		a.issues = append(a.issues, object{"id": i + 1, "source": "MountCheck", "type": kind, "message": "A mount is read-only",
			"wikiUrl": "https://wiki.servarr.com/"})
	}
}

// measures adds the queue and what is missing.
func (s *Servarr) measures() {
	s.route("GET /queue/details", func(w http.ResponseWriter, r *http.Request) {
		if asks(w, r.URL.Query()) {
			s.mutex.Lock()
			defer s.mutex.Unlock()
			answer(w, http.StatusOK, append([]object{}, s.queue...))
		}
	})
	s.route("GET /wanted/missing", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if !asks(w, query, "page", "pageSize", "sortKey", "sortDirection", "monitored") {
			return
		}
		page, err := strconv.Atoi(query.Get("page"))
		size, sizeErr := strconv.Atoi(query.Get("pageSize"))
		if err != nil || sizeErr != nil || page < 1 || size < 1 || query.Get("monitored") != "true" {
			answer(w, http.StatusBadRequest, object{"message": "the page is not valid"})
			return
		}
		s.mutex.Lock()
		defer s.mutex.Unlock()
		records := []object{}
		for i := (page - 1) * size; i < min(page*size, s.lacks); i++ {
			records = append(records, object{"id": i + 1, "monitored": true, "hasFile": false})
		}
		answer(w, http.StatusOK, object{"page": page, "pageSize": size, "totalRecords": s.lacks, "records": records})
	})
}

// SetQueue sets what is on the way: of each download its status, such as "ok" or "error", or "" for
// one that no download client has yet.
func (s *Servarr) SetQueue(statuses ...string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.queue = nil
	for i, status := range statuses {
		item := object{"id": i + 1, "title": fmt.Sprint("Release ", i+1), "protocol": "torrent", "status": "delay"}
		if status != "" {
			item["status"], item["trackedDownloadState"], item["trackedDownloadStatus"] = "downloading", "downloading", status
			item["downloadId"], item["downloadClient"] = fmt.Sprintf("%040X", i+1), "qBittorrent"
		}
		s.queue = append(s.queue, item)
	}
}

// SetMissing sets how many films or episodes it looks for.
func (s *Servarr) SetMissing(count int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.lacks = count
}

// measures adds the indexers that are not asked for a while.
func (p *Prowlarr) measures() {
	p.route("GET /indexerstatus", func(w http.ResponseWriter, r *http.Request) {
		if asks(w, r.URL.Query()) {
			p.mutex.Lock()
			defer p.mutex.Unlock()
			answer(w, http.StatusOK, append([]object{}, p.blocked...))
		}
	})
}

// Block makes it not ask an indexer for a while, because that has failed.
func (p *Prowlarr) Block(indexer string) {
	item := p.indexers.named(indexer)
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.blocked = append(p.blocked, object{"id": len(p.blocked) + 1, "indexerId": item["id"],
		"disabledTill": "2026-01-01T01:00:00Z", "mostRecentFailure": "2026-01-01T00:00:00Z"})
}

// jackettIndexers is Jackett's list of indexers for who has the key.
type jackettIndexers struct {
	XMLName  xml.Name         `xml:"indexers"`
	Indexers []jackettIndexer `xml:"indexer"`
}

type jackettIndexer struct {
	ID         string   `xml:"id,attr"`
	Configured bool     `xml:"configured,attr"`
	Title      string   `xml:"title"`
	Caps       struct{} `xml:"caps"`
}

// indexers answers with those that are configured, or not, or all.
func (j *Jackett) indexers(w http.ResponseWriter, id, configured string) {
	if id != "all" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `<error code="201" description="it does not support the requested query" />`)
		return
	}
	var all jackettIndexers
	for _, id := range j.order {
		if is := j.Configured(id); configured == "" || configured == strconv.FormatBool(is) {
			all.Indexers = append(all.Indexers, jackettIndexer{ID: id, Configured: is, Title: id})
		}
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(all)
}

// measures adds what is transferred.
func (q *QBittorrent) measures() {
	q.transfer = object{"dl_info_speed": 0, "dl_info_data": 0, "up_info_speed": 0, "up_info_data": 0, "dl_rate_limit": 0,
		"up_rate_limit": 0, "dht_nodes": 0, "connection_status": "firewalled"}
	q.route("GET transfer/info", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, q.transfer) })
}

// SetTransfer sets how many bytes were transferred since its start, and its connection, such as
// "connected".
func (q *QBittorrent) SetTransfer(down, up int, connection string) {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	q.transfer["dl_info_data"], q.transfer["up_info_data"], q.transfer["connection_status"] = down, up, connection
}

// AddTorrents adds torrents by hand, of each its state, such as "stalledDL".
func (q *QBittorrent) AddTorrents(states ...string) {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	for _, state := range states {
		name := fmt.Sprint("Torrent ", len(q.torrents)+1)
		q.torrents = append(q.torrents, object{"hash": fmt.Sprintf("%040x", len(q.torrents)+1), "name": name, "state": state,
			"category": "", "content_path": "/downloads/" + name, "progress": 0})
	}
}

// EndSessions ends all sessions, as a restart does.
func (q *QBittorrent) EndSessions() {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	q.ended += len(q.sessions)
	clear(q.sessions)
}

// Sessions returns how many sessions there are.
func (q *QBittorrent) Sessions() int {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return len(q.sessions)
}

// Failures returns how many logins failed since one succeeded.
func (q *QBittorrent) Failures() int {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return q.failures
}

// measures adds who is watching, and how much there is to watch.
func (j *Jellyfin) measures() {
	j.route("GET /Sessions", whoHasToken, func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if !asks(w, query, "activeWithinSeconds", "deviceId", "controllableByUserId") {
			return
		}
		if seconds, err := strconv.Atoi(query.Get("activeWithinSeconds")); err != nil || seconds <= 0 {
			http.Error(w, "activeWithinSeconds is not valid", http.StatusBadRequest)
			return
		}
		list := []object{}
		for i := range j.clients {
			client := object{"Id": fmt.Sprint("client-", i+1), "Client": "Jellyfin Web", "UserName": User, "IsActive": true}
			if i < j.playing {
				client["NowPlayingItem"] = object{"Name": "The Matrix", "Type": "Movie"}
			}
			list = append(list, client)
		}
		answer(w, http.StatusOK, list)
	})
	j.route("GET /Items/Counts", whoHasToken, func(w http.ResponseWriter, r *http.Request) {
		// With a user it takes minutes in a large library: jellyfin/jellyfin#15014.
		if !asks(w, r.URL.Query()) {
			return
		}
		counts := object{"MovieCount": 0, "SeriesCount": 0, "EpisodeCount": 0, "SongCount": 0, "ItemCount": 0}
		for _, item := range j.items {
			switch j.library(item.Library).CollectionType {
			case "movies":
				counts["MovieCount"] = counts["MovieCount"].(int) + 1
			case "tvshows":
				counts["EpisodeCount"] = counts["EpisodeCount"].(int) + 1
			}
		}
		answer(w, http.StatusOK, counts)
	})
}

// SetClients sets how many clients were active lately, and how many of them play something.
func (j *Jellyfin) SetClients(active, playing int) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.clients, j.playing = active, playing
}

// AddItems adds files to a library by hand.
func (j *Jellyfin) AddItems(library string, count int) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	for range count {
		j.items = append(j.items, jellyfinItem{library, fmt.Sprintf("/media/%s/%d.mkv", library, len(j.items)+1)})
	}
}

// measures adds the number of requests by what has become of them.
func (s *Jellyseerr) measures() {
	s.route("GET /request/count", func(w http.ResponseWriter, r *http.Request) {
		if !asks(w, r.URL.Query()) {
			return
		}
		// Approved are those that are processing or available; completed are no longer.
		counts := object{"total": len(s.requests), "movie": 0, "tv": 0, "pending": 0, "approved": 0, "declined": 0,
			"processing": 0, "available": 0, "completed": 0}
		add := func(name string) { counts[name] = counts[name].(int) + 1 }
		for _, request := range s.requests {
			add(fmt.Sprint(request["mediaType"]))
			status, _ := request["status"].(string)
			switch status {
			case "": // it was given to Radarr or Sonarr
				status = "processing"
				fallthrough
			case "processing", "available":
				add("approved")
			}
			add(status)
		}
		answer(w, http.StatusOK, counts)
	})
}

// AddRequests adds requests for films by hand, of each its status, such as "pending".
func (s *Jellyseerr) AddRequests(statuses ...string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, status := range statuses {
		s.requests = append(s.requests, object{"mediaType": "movie", "status": status})
	}
}
