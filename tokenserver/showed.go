package tokenserver

import (
	"errors"
	"net/http"
)

// showed returns who the connection of r proves, or the anonymous.
func (s *Server) showed(r *http.Request) (Identity, error) {
	who, ok, err := s.peer(r)
	switch {
	case err != nil:
		return Identity{}, err
	case !ok:
		return Identity{}, nil
	case who.Account == "":
		return Identity{}, errors.New("a connection was accepted, but proves no account")
	}
	s.observe(r.Context(), who.Account)
	return who, nil
}
