package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"homelab/images/home/internal/view"
)

// The headers by which the proxy says who the visitor is. It removes what visitors send by these
// names, and nobody but it can reach this server.
const (
	userHeader   = "Remote-User"
	groupsHeader = "Remote-Groups"
	nameHeader   = "Remote-Name"
)

type visitorKey struct{}

// authenticated answers only to whom the proxy names, and tells next who it is.
func authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visitor, err := identify(r.Header)
		if err != nil {
			http.Error(w, fmt.Sprintf("403: %s.\nThis page is only for visitors who come through the proxy and have signed in at the portal.", err),
				http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitorKey{}, visitor)))
	})
}

// identify returns whom the headers name. A header that is there twice names nobody: it would
// depend on the reader whom.
func identify(h http.Header) (view.Visitor, error) {
	for _, header := range []string{userHeader, groupsHeader, nameHeader} {
		if len(h.Values(header)) > 1 {
			return view.Visitor{}, fmt.Errorf("the request has more than one %s header", header)
		}
	}
	v := view.Visitor{User: strings.TrimSpace(h.Get(userHeader)), Name: strings.TrimSpace(h.Get(nameHeader))}
	if v.User == "" {
		return view.Visitor{}, fmt.Errorf("the request has no %s header", userHeader)
	}
	if v.Name == "" {
		v.Name = v.User
	}
	for _, group := range strings.Split(h.Get(groupsHeader), ",") {
		if group = strings.TrimSpace(group); group != "" {
			v.Groups = append(v.Groups, group)
		}
	}
	return v, nil
}

// visitorOf returns who authenticated has found. Without it, the visitor is nobody and holds
// nothing.
func visitorOf(r *http.Request) view.Visitor {
	v, _ := r.Context().Value(visitorKey{}).(view.Visitor)
	return v
}
