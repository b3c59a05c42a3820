package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"
)

// What the journal's files are made of (https://systemd.io/JOURNAL_FILE_FORMAT/).
const (
	journalMagic    = "LPKSHHRH"
	journalHeader   = 208 // bytes, at least
	journalData     = 1   // types of objects
	journalEntry    = 3
	journalZstd     = 4 // of an object's flags
	journalCompact  = 16
	journalHashed   = 4
	journalPackable = 8 // of a file's flags: with objects in zstd
)

// journalLine is an entry of the journal.
type journalLine struct {
	at     time.Time
	fields map[string]string
}

// journals reads the journal's files, and remembers how far it has come in each.
type journals struct {
	folder string
	// next are the offsets at which to go on, by the files' IDs: a name changes when a file is full.
	next map[string]uint64
}

// since returns the entries that are new and later than a time, the earliest first. They count as
// read once done is called.
func (j *journals) since(after time.Time) (found []journalLine, done func(), err error) {
	names, err := filepath.Glob(filepath.Join(j.folder, "*", "*.journal"))
	if err != nil {
		return nil, nil, err
	}
	next := map[string]uint64{}
	for _, name := range names {
		if err := j.read(name, func(content []byte) error {
			id := string(content[24:40])
			lines, to, err := readJournal(content, j.next[id], after)
			found, next[id] = append(found, lines...), to
			return err
		}); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	slices.SortStableFunc(found, func(a, b journalLine) int { return a.at.Compare(b.at) })
	return found, func() { j.next = next }, nil
}

// read lends a file's content, which is not copied: a journal may be as large as the container's
// memory.
func (j *journals) read(name string, look func(content []byte) error) (err error) {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < journalHeader {
		return nil // it is being made
	}
	content, err := syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, syscall.Munmap(content)) }()
	return look(content)
}

// journal is a file.
type journal struct {
	content []byte
	compact bool
	zstd    *zstd.Decoder
}

// readJournal returns the entries from an offset on, 0 for all, and the offset of what comes next.
func readJournal(content []byte, from uint64, after time.Time) (found []journalLine, next uint64, err error) {
	if len(content) < journalHeader || string(content[:8]) != journalMagic {
		return nil, 0, errors.New("it is no journal")
	}
	flags := binary.LittleEndian.Uint32(content[12:])
	if other := flags &^ (journalHashed | journalPackable | journalCompact); other != 0 {
		return nil, 0, fmt.Errorf("the stand-in does not know the journal's flags %#x", other)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, 0, err
	}
	defer decoder.Close()
	j := &journal{content, flags&journalCompact != 0, decoder}
	last := binary.LittleEndian.Uint64(content[136:])
	for next = max(from, binary.LittleEndian.Uint64(content[88:])); next <= last; {
		object := j.object(next)
		if object == nil {
			break // it is being written
		}
		if object[0] == journalEntry && len(object) >= 64 {
			if at := time.UnixMicro(int64(binary.LittleEndian.Uint64(object[24:]))); at.After(after) {
				found = append(found, journalLine{at, j.fields(object)})
			}
		}
		next += (uint64(len(object)) + 7) &^ 7
	}
	return found, next, nil
}

// object returns the object at an offset, nil if there is no whole one.
func (j *journal) object(at uint64) []byte {
	if at+16 > uint64(len(j.content)) {
		return nil
	}
	size := binary.LittleEndian.Uint64(j.content[at+8:])
	if size < 16 || size > uint64(len(j.content))-at {
		return nil
	}
	return j.content[at : at+size]
}

// fields returns the texts of an entry, by their names.
func (j *journal) fields(entry []byte) map[string]string {
	out, size, from := map[string]string{}, 16, 64
	if j.compact {
		size, from = 4, 72
	}
	for items := entry[64:]; len(items) >= size; items = items[size:] {
		at := uint64(binary.LittleEndian.Uint32(items))
		if !j.compact {
			at = binary.LittleEndian.Uint64(items)
		}
		data := j.object(at)
		if len(data) < from || data[0] != journalData {
			continue
		}
		text := data[from:]
		if data[1] == journalZstd {
			var err error
			if text, err = j.zstd.DecodeAll(text, nil); err != nil {
				continue
			}
		}
		if name, value, ok := strings.Cut(string(text), "="); ok {
			out[name] = value
		}
	}
	return out
}
