package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"gatehouse/configs"
	"gatehouse/gateway"
)

// TestLinesOfARequest: what is logged about a request carries the id of its line in the access log, once, and other lines none.
func TestLinesOfARequest(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(configs.Log{Formatter: "json"}, &out)
	s, err := gateway.New(gateway.Options{
		Addr: "127.0.0.1:0", AccessLog: true, Logger: log,
		Routes: []gateway.Route{{Path: "/", Name: "x", Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			log.With("a", 1).WarnContext(r.Context(), "inside")
		})}},
	})
	fatal(t, err)
	fatal(t, s.Listen())
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	answer, err := http.Get("http://" + s.Addr().String() + "/")
	fatal(t, err)
	answer.Body.Close()
	stop()
	fatal(t, <-ended)
	log.Info("outside")

	ids := map[string]any{}
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		if bytes.Count(lines.Bytes(), []byte(`"request":`)) > 1 {
			t.Errorf("the id is there twice: %s", lines.Text())
		}
		var line map[string]any
		fatal(t, json.Unmarshal(lines.Bytes(), &line))
		ids[line["msg"].(string)] = line["request"]
	}
	if ids["inside"] == nil || ids["inside"] != ids["request"] || ids["outside"] != nil {
		t.Errorf("ids %v", ids)
	}
}
