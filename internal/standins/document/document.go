// Package document keeps a stand-in's state in an SQLite database with one row: where the real
// program has a database, the deployment's backup expects one, and copies it while it is in use.
package document

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the driver
)

// File is the database. It is safe for use by many goroutines.
type File struct {
	mutex    sync.Mutex
	database *sql.DB
	last     []byte
}

// Open opens the database at a path, and makes it and its folder, only for their owner, where they
// are not there. A database of something else is refused.
func Open(path string) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	made, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite would let the group read it
	if err == nil {
		err = made.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	database, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	database.SetMaxOpenConns(1)
	f := &File{database: database}
	if err := f.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), database.Close())
	}
	return f, nil
}

func (f *File) read() error {
	ctx := context.Background()
	if _, err := f.database.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS standin (id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB NOT NULL)`); err != nil {
		return err
	}
	err := f.database.QueryRowContext(ctx, `SELECT content FROM standin`).Scan(&f.last)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// Content is what was written last; nil if nothing ever was.
func (f *File) Content() []byte {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return bytes.Clone(f.last)
}

// Write keeps the content in the place of what was there. It writes nothing if that is the same.
func (f *File) Write(content []byte) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if bytes.Equal(content, f.last) {
		return nil
	}
	const replace = `INSERT INTO standin (id, content) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET content = excluded.content`
	_, err := f.database.ExecContext(context.Background(), replace, content)
	if err != nil {
		return fmt.Errorf("writing the database: %w", err)
	}
	f.last = bytes.Clone(content)
	return nil
}

// Close closes the database.
func (f *File) Close() error { return f.database.Close() }
