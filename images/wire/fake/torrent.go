package fake

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// torrentOf returns the smallest torrent of one file.
func torrentOf(name string) []byte {
	return fmt.Appendf(nil, "d4:infod6:lengthi0e4:name%d:%s12:piece lengthi16384e6:pieces0:ee", len(name), name)
}

// torrentName returns the name in a torrent's file.
func torrentName(torrent []byte) (string, error) {
	value, rest, err := bencoded(torrent)
	if err != nil {
		return "", err
	}
	file, _ := value.(map[string]any)
	info, _ := file["info"].(map[string]any)
	name, _ := info["name"].(string)
	if _, sized := info["piece length"].(int); !sized || name == "" || len(rest) > 0 {
		return "", errors.New("it is no torrent")
	}
	return name, nil
}

// bencoded decodes the value at the beginning of data, and returns what comes after it.
func bencoded(data []byte) (value any, rest []byte, err error) {
	if len(data) == 0 {
		return nil, nil, errors.New("it ends early")
	}
	switch data[0] {
	case 'i':
		return number(data[1:], 'e')
	case 'l', 'd':
		var items []any
		for rest = data[1:]; len(rest) > 0 && rest[0] != 'e'; items = append(items, value) {
			if value, rest, err = bencoded(rest); err != nil {
				return nil, nil, err
			}
		}
		if len(rest) == 0 {
			return nil, nil, errors.New("it ends early")
		}
		if data[0] == 'l' {
			return items, rest[1:], nil
		}
		object := map[string]any{}
		for i := 0; i+1 < len(items); i += 2 {
			object[fmt.Sprint(items[i])] = items[i+1]
		}
		return object, rest[1:], nil
	}
	length, rest, err := number(data, ':')
	if err != nil || length.(int) < 0 || length.(int) > len(rest) {
		return nil, nil, errors.Join(err, errors.New("it has a text of no length"))
	}
	return string(rest[:length.(int)]), rest[length.(int):], nil
}

func number(data []byte, end byte) (value any, rest []byte, err error) {
	digits, rest, found := bytes.Cut(data, []byte{end})
	n, err := strconv.Atoi(string(digits))
	if !found || err != nil {
		return nil, nil, errors.New("it has a number that is none")
	}
	return n, rest, nil
}
