package fake

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// addMedia adds a film or a series, searches it with every indexer, and gives the first result to
// the download client.
func (s *Servarr) addMedia(w http.ResponseWriter, r *http.Request) {
	var item object
	if err := readBody(r, &item); err != nil {
		refuse(w, "", err, nil)
		return
	}
	shape := spec{"title": "string!", s.kind.id: "int!", "qualityProfileId": "int!",
		"rootFolderPath": "string!", "monitored": "bool!"}
	if err := shape.check(item); err != nil {
		refuse(w, "", err, item)
		return
	}
	known := false
	for _, root := range s.rootFolders() {
		known = known || root["path"] == item["rootFolderPath"]
	}
	if !known || s.profile(item["qualityProfileId"]) == nil {
		refuse(w, "RootFolderPath", errors.New("no such root folder or profile"), item)
		return
	}
	title, _ := item["title"].(string)
	if err := s.grab(title); err != nil {
		refuse(w, "", err, item)
		return
	}
	s.mutex.Lock()
	s.media = append(s.media, item)
	s.mutex.Unlock()
	answer(w, http.StatusCreated, item)
}

func (s *Servarr) grab(title string) error {
	for _, name := range s.indexers.names() {
		found, err := torznab(s.indexers.named(name), url.Values{"t": {"search"}, "q": {title}})
		if err != nil {
			return fmt.Errorf("searching with %s: %w", name, err)
		}
		var results rss
		if err := xml.Unmarshal(found, &results); err != nil {
			return fmt.Errorf("searching with %s: %w", name, err)
		}
		for _, result := range results.Items {
			if strings.Contains(result.Title, title) {
				return s.download(result)
			}
		}
	}
	return fmt.Errorf("no indexer has %s", title)
}

// download fetches the torrent's file itself, and gives it to the first download client.
func (s *Servarr) download(result rssItem) error {
	torrent, err := fetch(http.MethodGet, result.Link, nil, nil)
	if err != nil {
		return fmt.Errorf("downloading the torrent: %w", err)
	}
	if _, err := torrentName(torrent); err != nil {
		return fmt.Errorf("Torrent file is not valid: %w", err)
	}
	for _, name := range s.clients.names() {
		client := s.clients.named(name)
		if client["enable"] != true {
			continue
		}
		session, base, err := s.session(client)
		if err != nil {
			return err
		}
		return s.upload(session, base, text(client, s.kind.category), result.Title+".torrent", torrent)
	}
	return errors.New("there is no download client")
}

// upload gives the client a torrent. Versions before 5 know it as paused or not, later ones as
// stopped.
func (s *Servarr) upload(session *http.Client, base, category, name string, torrent []byte) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("torrents", name)
	if err != nil {
		return err
	}
	if _, err := part.Write(torrent); err != nil {
		return err
	}
	for _, field := range [][2]string{{"category", category}, {"paused", "False"}, {"stopped", "False"}} {
		if err := form.WriteField(field[0], field[1]); err != nil {
			return err
		}
	}
	if err := form.Close(); err != nil {
		return err
	}
	response, err := session.Post(base+"/torrents/add", form.FormDataContentType(), &body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || string(said) == "Fails." {
		return fmt.Errorf("Download client failed to add torrent: %d %s", response.StatusCode, said)
	}
	return nil
}

// command looks after the downloads at once.
func (s *Servarr) command(w http.ResponseWriter, r *http.Request) {
	var command object
	if err := readBody(r, &command); err != nil || command["name"] != "RefreshMonitoredDownloads" {
		refuse(w, "Name", errors.New("no such command"), command)
		return
	}
	if err := s.Refresh(); err != nil {
		refuse(w, "", err, nil)
		return
	}
	answer(w, http.StatusCreated, object{"id": 1, "name": command["name"]})
}

// Refresh looks after the downloads, as the app does every minute: it imports what is complete, and
// removes what was imported and has been seeded for long enough. What fails is tried again.
func (s *Servarr) Refresh() error {
	var problems []error
	for _, name := range s.clients.names() {
		client := s.clients.named(name)
		session, base, err := s.session(client)
		if err != nil {
			return err
		}
		var torrents []object
		query := url.Values{"category": {text(client, s.kind.category)}}
		if err := getJSON(session, base+"/torrents/info?"+query.Encode(), &torrents); err != nil {
			return err
		}
		for _, torrent := range torrents {
			err := s.importTorrent(torrent)
			if err == nil && client["removeCompletedDownloads"] == true {
				err = s.removeSeeded(session, base, torrent)
			}
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// importTorrent copies a file into the root folder, under another name if that is wanted, and then
// tells who wants to know.
func (s *Servarr) importTorrent(torrent object) error {
	folder, err := s.copyTorrent(torrent)
	if err != nil {
		s.log(fmt.Sprintf("%s did not import: %v", s.name, err))
		return err
	}
	if folder != "" {
		s.log(fmt.Sprintf("%s imported into %s", s.name, folder))
		s.tell(folder)
	}
	return nil
}

// copyTorrent returns the folder that it has copied the file into, "" if there was nothing to do.
func (s *Servarr) copyTorrent(torrent object) (string, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	source, _ := torrent["content_path"].(string)
	if s.imported[source] || torrent["progress"] != 1.0 {
		return "", nil
	}
	if s.configs["mediamanagement"]["copyUsingHardlinks"] != false {
		return "", errors.New("a hardlink does not reach the box")
	}
	for _, item := range s.media {
		title, _ := item["title"].(string)
		if !strings.Contains(filepath.Base(source), title) {
			continue
		}
		root, _ := item["rootFolderPath"].(string)
		if info, err := os.Stat(root); err != nil || !info.IsDir() {
			return "", fmt.Errorf("Root folder '%s' was not found.", root)
		}
		folder, file := s.place(item, source)
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, folder, file)), 0o755); err != nil {
			return "", err
		}
		if err := copyFile(source, filepath.Join(root, folder, file)); err != nil {
			return "", err
		}
		s.imported[source] = true
		return filepath.Join(root, folder), nil
	}
	return "", nil
}

// place returns the folder of a film or a series in its root folder, and where a file goes there.
// All films are of 1999, and all files of series the first episode.
func (s *Servarr) place(item object, source string) (folder, file string) {
	renames := s.configs["naming"][s.kind.rename] == true
	file = filepath.Base(source)
	if s.kind.resource == "movie" {
		if renames {
			file = fmt.Sprintf("%v (1999)%s", item["title"], filepath.Ext(source))
		}
		return fmt.Sprintf("%v (1999) [tmdbid-%v]", item["title"], item["tmdbId"]), file
	}
	if renames {
		file = fmt.Sprintf("%v - S01E01%s", item["title"], filepath.Ext(source))
	}
	return fmt.Sprintf("%v [tvdbid-%v]", item["title"], item["tvdbId"]), filepath.Join("Season 01", file)
}

// copyFile copies a file; nothing is left of a copy that failed.
func copyFile(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	if err = errors.Join(err, target.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

// removeSeeded removes a torrent and its file once it was imported, has reached its ratio and was
// stopped for that.
func (s *Servarr) removeSeeded(session *http.Client, base string, torrent object) error {
	s.mutex.Lock()
	source, _ := torrent["content_path"].(string)
	imported := s.imported[source]
	s.mutex.Unlock()
	limit, limited := torrent["ratio_limit"].(float64)
	ratio, _ := torrent["ratio"].(float64)
	stopped := torrent["state"] == "pausedUP" || torrent["state"] == "stoppedUP"
	if !imported || !stopped || !limited || limit < 0 || ratio < limit {
		return nil
	}
	response, err := session.PostForm(base+"/torrents/delete",
		url.Values{"hashes": {fmt.Sprint(torrent["hash"])}, "deleteFiles": {"true"}})
	if err != nil {
		return err
	}
	s.log(fmt.Sprintf("%s removed %v from the download client", s.name, torrent["name"]))
	return response.Body.Close()
}
