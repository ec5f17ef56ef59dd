package gateway

import (
	"context"
	"net/http"
	"time"
)

// client opens the exchange: who asks is the peer of the connection, never a header.
func (s *Server) client(next handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.active.Add(1)
		defer s.active.Add(-1)
		x := &exchange{
			server: s,
			w:      w,
			r:      r,
			start:  time.Now(),
			serial: s.serial.Add(1),
			v2:     isV2(s.prefix, r.URL.Path),
			http1:  r.TLS == nil || r.TLS.NegotiatedProtocol != "h2",
			plain:  r.TLS == nil,
		}
		x.reads = guard{x: x, cut: (*exchange).cutRead, stall: errStalledBody}
		x.writes = guard{x: x, cut: (*exchange).cutWrite, stall: errStalledReader}
		next(x, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
	})
}
