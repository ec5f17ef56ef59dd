package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"gatehouse/tokenserver"
)

// maxText bounds each text that a client chose, in bytes: a scope with the longest name that the registry has fits.
const maxText = 320

// entry is a line of the log. Names do not change: programs read them. What is empty is left out, but for the lists of what was asked
// and granted.
type entry struct {
	Time time.Time `json:"time"`
	// Way is token, refresh or basic.
	Way string `json:"way"`
	// Account was proven; Claimed is what the client said, where that is another.
	Account string   `json:"account,omitempty"`
	Claimed string   `json:"claimed,omitempty"`
	Source  string   `json:"source,omitempty"`
	Groups  []string `json:"groups,omitempty"`
	Address string   `json:"address,omitempty"`
	Client  string   `json:"client,omitempty"`
	// Asked and Granted are scopes. What was refused is in Asked only.
	Asked   []string `json:"asked"`
	Granted []string `json:"granted"`
	// Rule names what decided: of several scopes each once, in their order.
	Rule string `json:"rule,omitempty"`
	// Decisions are which rule decided what, where rules differ.
	Decisions []decision `json:"decisions,omitempty"`
	KeyID     string     `json:"kid,omitempty"`
	TokenID   string     `json:"jti,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
	Refresh   string     `json:"refresh,omitempty"`
	// Refused is why there was no answer but an error.
	Refused   string `json:"refused,omitempty"`
	RequestID string `json:"request,omitempty"`
}

// maxDecisions bounds how many of them a line has; what was asked and granted is there in full.
const maxDecisions = 100

// decision is what one rule says of one scope.
type decision struct {
	Asked   string   `json:"asked"`
	Granted []string `json:"granted"` // actions
	Rule    string   `json:"rule"`
}

func newEntry(e tokenserver.Event) entry {
	n := entry{
		Time: e.Time.UTC(), Way: e.Way, Account: printable(e.Account), Source: e.Source, Client: printable(e.Client),
		Asked: []string{}, Granted: []string{}, KeyID: e.KeyID, TokenID: e.TokenID, Refresh: printable(e.Refresh),
		Refused: e.Refused, RequestID: printable(e.RequestID),
	}
	if e.Claimed != e.Account {
		n.Claimed = printable(masked(e.Claimed))
	}
	if e.Address.IsValid() {
		n.Address = e.Address.String()
	}
	for _, group := range e.Groups {
		n.Groups = append(n.Groups, printable(group))
	}
	if !e.Expires.IsZero() {
		at := e.Expires.UTC()
		n.Expires = &at
	}
	n.decided(e.Decisions, e.Refused == "")
	return n
}

// masked hides a robot's secret or a refresh token that was typed where a name belongs, but for what tells which it was.
func masked(text string) string {
	const kept = 8 // bytes
	if (strings.HasPrefix(text, "ghb_") || strings.HasPrefix(text, "ghr_")) && len(text) > kept {
		return text[:kept] + "…"
	}
	return text
}

// noRule stands where a decision was made and no rule matched.
const noRule = "none"

// decided adds what was asked and granted, in the words of scopes. over says that rules were asked at all.
func (n *entry) decided(decisions []tokenserver.Decision, over bool) {
	var rules []string
	for _, d := range decisions {
		one := decision{Asked: printable(d.Asked.String()), Granted: []string{}}
		n.Asked = append(n.Asked, one.Asked)
		if len(d.Actions) > 0 {
			granted := d.Asked
			granted.Actions = d.Actions
			n.Granted = append(n.Granted, printable(granted.String()))
		}
		rule := d.Rule
		if rule == "" && over {
			rule = noRule
		}
		for _, action := range d.Actions {
			one.Granted = append(one.Granted, printable(action))
		}
		one.Rule = printable(rule)
		if len(n.Decisions) < maxDecisions {
			n.Decisions = append(n.Decisions, one)
		}
		if rule != "" && !slices.Contains(rules, rule) {
			rules = append(rules, rule)
		}
	}
	if n.Rule = printable(strings.Join(rules, ", ")); len(rules) < 2 {
		n.Decisions = nil // Rule says it all
	}
}

// printable is text as it may be shown: bounded, and without what could play tricks with a terminal or with who reads a line.
func printable(text string) string {
	cut := ""
	if len(text) > maxText {
		text, cut = text[:maxText], "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text) + cut
}

// line is JSON in one line (RFC 8259), with its end.
func (n entry) line() ([]byte, error) {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(n); err != nil {
		return nil, fmt.Errorf("encode a line of the audit log: %w", err)
	}
	return b.Bytes(), nil
}

// attributes are the same for the server's log, which adds time and request itself.
func (n entry) attributes() []slog.Attr {
	list := []slog.Attr{slog.String("way", n.Way)}
	text := func(key, value string) {
		if value != "" {
			list = append(list, slog.String(key, value))
		}
	}
	text("account", n.Account)
	text("claimed", n.Claimed)
	text("source", n.Source)
	if len(n.Groups) > 0 {
		list = append(list, slog.Any("groups", n.Groups))
	}
	text("address", n.Address)
	text("client", n.Client)
	list = append(list, slog.Any("asked", n.Asked), slog.Any("granted", n.Granted))
	text("rule", n.Rule)
	if len(n.Decisions) > 0 {
		list = append(list, slog.Any("decisions", n.Decisions))
	}
	text("kid", n.KeyID)
	text("jti", n.TokenID)
	if n.Expires != nil {
		list = append(list, slog.Time("expires", *n.Expires))
	}
	text("refresh", n.Refresh)
	text("refused", n.Refused)
	return list
}
