package admin

import (
	"net/http"

	"gatehouse/registry/adopt"
	"gatehouse/registry/index"
)

// The states of an adoption. Failed is what a server is at and will try again.
const (
	AdoptionNone    = "none"
	AdoptionRunning = "running"
	AdoptionDone    = "done"
	AdoptionFailed  = "failed"
)

// Adoption is what GET /v1/adoption answers: how far a tree of distribution's is taken over.
type Adoption struct {
	index.Adoption
	State string `json:"state"`
	// Server says that a server is at it; then Read of Found repositories of the tree are read, and the tree has more unless
	// Counted.
	Server  bool   `json:"server"`
	Read    int    `json:"read"`
	Found   int    `json:"found"`
	Counted bool   `json:"counted"`
	Reason  string `json:"reason,omitempty"` // of AdoptionFailed
	// Kept are the findings that are kept, the newest.
	Kept []index.Finding `json:"kept"`
}

// RegisterAdoption adds the handler to a server, running or of a verb's own process.
func RegisterAdoption(to *Server, x *index.Index, a *adopt.Adopter, running bool) {
	to.Handle("GET /v1/adoption", func(w http.ResponseWriter, r *http.Request) error {
		now, err := x.Adoption(r.Context())
		if err != nil {
			return err
		}
		out := Adoption{Adoption: now, State: AdoptionNone, Server: running}
		switch now.State {
		case index.AdoptionRunning:
			out.State = AdoptionRunning
		case index.AdoptionDone:
			out.State = AdoptionDone
		}
		if running && out.State == AdoptionRunning {
			p := a.Progress()
			out.Read, out.Found, out.Counted = p.Read, p.Found, p.Counted
			if p.Failure != nil {
				out.State, out.Reason = AdoptionFailed, p.Failure.Error()
			}
		}
		if out.Kept, err = x.Findings(r.Context()); err != nil {
			return err
		}
		return Reply(w, out)
	})
}
