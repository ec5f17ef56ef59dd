package main

import (
	"time"

	"gatehouse/gateway"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/audit"
	"gatehouse/tokenserver/guard"
)

// protect adds to o what holds up who guesses, and the audit log.
func (s *server) protect(o *tokenserver.Options) error {
	if p := s.cfg.TokenServer.Protection; !p.Disabled {
		g, err := guard.New(guard.Options{Free: p.Free, Maximum: p.MaxDelay, Now: time.Now, Metrics: s.metrics})
		if err != nil {
			return configError{err}
		}
		o.Guard = g
	}
	log, err := audit.Open(audit.Options{File: s.cfg.TokenServer.Audit.File, Metrics: s.metrics, Logger: s.log})
	if err != nil {
		return err
	}
	o.Audit, o.RequestID = log.Record, gateway.RequestID
	return nil
}
