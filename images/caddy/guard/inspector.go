package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// notInspected are headers that belong to one connection, not to the request. The request to AppSec
// has its own; an Expect among them would make AppSec's server answer before anything was
// inspected.
var notInspected = map[string]bool{
	"Connection": true, "Content-Length": true, "Expect": true, "Host": true, "Keep-Alive": true,
	"Proxy-Connection": true, "Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
	"User-Agent": true, // it has a header of AppSec's own
}

// appSecPrefix begins the headers by which AppSec learns of the request.
const appSecPrefix = "X-Crowdsec-Appsec-"

// errBlocked is AppSec's verdict against a request.
type errBlocked struct{ status int }

func (e errBlocked) Error() string { return fmt.Sprintf("blocked with status %d", e.status) }

// inspector asks AppSec.
type inspector struct {
	url *url.URL
	key string
	hop *hop
	log *zap.Logger
}

func newInspector(address *url.URL, key string, timeout time.Duration, log *zap.Logger) *inspector {
	return &inspector{url: address, key: key, log: log.Named("appsec"), hop: newHop(timeout)}
}

func (i *inspector) close() { i.hop.close() }

// inspect returns nil if AppSec lets the request pass, errBlocked if it does not, and another error
// if it gave no verdict. A nil body stands for a request whose body is not to be inspected.
func (i *inspector) inspect(ctx context.Context, r *http.Request, client netip.Addr, body []byte) error {
	err := i.ask(ctx, r, client, body)
	var blocked errBlocked
	if err != nil && !errors.As(err, &blocked) && ctx.Err() == nil {
		i.log.Error("no verdict: the request is refused", zap.Error(err))
	}
	return err
}

func (i *inspector) ask(ctx context.Context, r *http.Request, client netip.Addr, body []byte) error {
	q := &question{method: http.MethodGet, url: i.url, header: make([]byte, 0, 1024)}
	if len(body) > 0 {
		q.method, q.body = http.MethodPost, body
	}
	for name, values := range r.Header {
		// What the client says in AppSec's name is not passed on. A type without its content would
		// only be found wanting.
		if notInspected[name] || strings.HasPrefix(name, appSecPrefix) || len(body) == 0 && name == "Content-Type" {
			continue
		}
		for _, value := range values {
			if err := q.add(name, value); err != nil {
				return err
			}
		}
	}
	for _, h := range [][2]string{
		{"User-Agent", bouncerAgent},
		{appSecPrefix + "Api-Key", i.key},
		{appSecPrefix + "Ip", client.String()},
		{appSecPrefix + "Verb", r.Method},
		{appSecPrefix + "Host", r.Host},
		{appSecPrefix + "Uri", r.URL.RequestURI()},
		{appSecPrefix + "User-Agent", r.UserAgent()},
		{appSecPrefix + "Http-Version", strconv.Itoa(r.ProtoMajor) + strconv.Itoa(r.ProtoMinor)},
	} {
		if err := q.add(h[0], h[1]); err != nil {
			return err
		}
	}
	answer, text, err := i.hop.do(ctx, q)
	if err != nil {
		return err
	}
	return verdict(answer.StatusCode, text)
}

// verdict returns nil for consent. AppSec consents with 200 and the action allow, and blocks with
// 403 and the status that the client is to get; whatever else comes is no verdict.
func verdict(status int, text []byte) error {
	var said struct {
		Action string `json:"action"`
		Status int    `json:"http_status"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("AppSec answered %d and no verdict: %w", status, err)
	}
	switch {
	case status == http.StatusOK && said.Action == "allow":
		return nil
	case status == http.StatusForbidden && said.Action != "" && said.Action != "allow":
		if said.Status < 400 || said.Status > 499 {
			said.Status = http.StatusForbidden
		}
		return errBlocked{said.Status}
	}
	return fmt.Errorf("AppSec answered %d with the action %q, which is no verdict", status, said.Action)
}
