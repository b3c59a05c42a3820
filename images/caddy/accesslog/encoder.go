// Package accesslog writes the proxy's log: of a request's headers only what a reader of the log
// needs, and no credential of its query.
//
// Caddy's own filter names what is left out, so a header that nobody thought of is written down,
// and it parses and writes every query anew. Here a header is written only if it is named.
package accesslog

import (
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// redacted stands in the log for a credential.
const redacted = "REDACTED"

func init() { caddy.RegisterModule(Encoder{}) }

// Encoder writes log entries as JSON, with Caddy's names of the fields. In a Caddyfile:
//
//	format access {
//		header User-Agent
//		redact access_token api_key
//	}
type Encoder struct {
	// Headers are the request's headers that are written, by their canonical names. No other is.
	Headers []string `json:"headers,omitempty"`
	// Redact are the names of query parameters whose values are not written, compared without case.
	Redact []string `json:"redact,omitempty"`

	zapcore.Encoder `json:"-"`
	*rules
}

// rules are what the encoder and its clones share.
type rules struct {
	headers []string
	redact  map[string]bool
}

// CaddyModule returns the module's ID and constructor.
func (Encoder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.encoders.access",
		New: func() caddy.Module { return new(Encoder) },
	}
}

// UnmarshalCaddyfile reads the format's block.
func (e *Encoder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		var into *[]string
		switch d.Val() {
		case "header":
			into = &e.Headers
		case "redact":
			into = &e.Redact
		default:
			return d.Errf("unknown option %q", d.Val())
		}
		names := d.RemainingArgs()
		if len(names) == 0 {
			return d.ArgErr()
		}
		*into = append(*into, names...)
	}
	return nil
}

// Provision makes the JSON encoder that Caddy uses too.
func (e *Encoder) Provision(ctx caddy.Context) error {
	var json logging.JSONEncoder
	if err := json.Provision(ctx); err != nil {
		return err
	}
	e.Encoder = json.Encoder
	e.rules = &rules{headers: e.Headers, redact: map[string]bool{}}
	for _, name := range e.Redact {
		e.redact[strings.ToLower(name)] = true
	}
	return nil
}

// Clone returns an encoder with what was added so far.
func (e *Encoder) Clone() zapcore.Encoder {
	return &Encoder{Encoder: e.Encoder.Clone(), rules: e.rules}
}

// EncodeEntry writes one entry.
func (e *Encoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	kept := make([]zapcore.Field, 0, len(fields))
	for _, f := range fields {
		switch f.Type {
		case zapcore.StringType:
			f.String = e.text(f.Key, f.String)
		case zapcore.ObjectMarshalerType, zapcore.InlineMarshalerType:
			value := e.object(f.Key, f.Interface.(zapcore.ObjectMarshaler))
			if value == nil {
				continue
			}
			f.Interface = value
		}
		kept = append(kept, f)
	}
	return e.Encoder.EncodeEntry(entry, kept)
}

// AddString adds a string to all entries of a logger.
func (e *Encoder) AddString(key, value string) { e.Encoder.AddString(key, e.text(key, value)) }

// AddObject adds an object to all entries of a logger.
func (e *Encoder) AddObject(key string, value zapcore.ObjectMarshaler) error {
	if value = e.object(key, value); value == nil {
		return nil
	}
	return e.Encoder.AddObject(key, value)
}

// longest is how much of a text is written, in bytes: a request has up to 16 KiB of them, and who
// sends many such requests should not fill the disk of whoever keeps the log. AppSec has seen all.
const longest = 2 << 10

// short returns the beginning of a text that is too long, and says that there was more.
func short(text string) string {
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}

// text returns what is written of a string.
func (r *rules) text(key, value string) string {
	if key == "uri" {
		value = r.uri(value)
	}
	return short(value)
}

// object returns what is written of an object, or nil.
func (r *rules) object(key string, value zapcore.ObjectMarshaler) zapcore.ObjectMarshaler {
	switch key {
	case "tls", "resp_headers": // nobody reads them
		return nil
	case "headers":
		return zapcore.ObjectMarshalerFunc(func(out zapcore.ObjectEncoder) error {
			return value.MarshalLogObject(named{out, r})
		})
	}
	return zapcore.ObjectMarshalerFunc(func(out zapcore.ObjectEncoder) error {
		return value.MarshalLogObject(within{out, r})
	})
}

// within writes what is in an object.
type within struct {
	zapcore.ObjectEncoder
	*rules
}

// AddString writes a string.
func (w within) AddString(key, value string) { w.ObjectEncoder.AddString(key, w.text(key, value)) }

// AddObject writes an object in the object.
func (w within) AddObject(key string, value zapcore.ObjectMarshaler) error {
	if value = w.object(key, value); value == nil {
		return nil
	}
	return w.ObjectEncoder.AddObject(key, value)
}

// named writes the headers that are named.
type named struct {
	zapcore.ObjectEncoder
	*rules
}

// AddArray writes the values of a header.
func (n named) AddArray(key string, values zapcore.ArrayMarshaler) error {
	if !slices.Contains(n.headers, key) {
		return nil
	}
	return n.ObjectEncoder.AddArray(key, zapcore.ArrayMarshalerFunc(func(out zapcore.ArrayEncoder) error {
		return values.MarshalLogArray(shortened{out})
	}))
}

// shortened writes the texts of a list.
type shortened struct{ zapcore.ArrayEncoder }

// AppendString writes a text.
func (s shortened) AppendString(text string) { s.ArrayEncoder.AppendString(short(text)) }

// uri returns a request target without the credentials of its query.
func (r *rules) uri(target string) string {
	path, query, ok := strings.Cut(target, "?")
	if !ok {
		return target
	}
	parameters := strings.Split(query, "&")
	for i, p := range parameters {
		name, _, _ := strings.Cut(p, "=")
		if plain, err := url.QueryUnescape(name); err != nil || r.redact[strings.ToLower(plain)] {
			parameters[i] = name + "=" + redacted
		}
	}
	return path + "?" + strings.Join(parameters, "&")
}

var (
	_ caddy.Provisioner     = (*Encoder)(nil)
	_ caddyfile.Unmarshaler = (*Encoder)(nil)
	_ zapcore.Encoder       = (*Encoder)(nil)
)
