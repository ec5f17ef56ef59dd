package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"gatehouse/configs"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/access"
	"gatehouse/tokenserver/token"
)

// accessVerb is `gatehouse access`.
func (p *program) accessVerb() *cobra.Command {
	verb := &cobra.Command{Use: "access", Short: "Look at the access rules", Args: noArgs,
		Long: `Looks at the rules of tokenserver.access: which of them decides, and what the rules of docker_auth become here.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	verb.AddCommand(p.accessExplainVerb(p.identify), p.accessImportVerb())
	return verb
}

// question is what `access explain` is asked.
type question struct {
	account    string
	anonymous  bool
	groups     []string
	address    string
	repository string
	action     string
	asJSON     bool
}

// identifier says who an account is by name: its groups, and its own scope where it has one.
type identifier func(ctx context.Context, cfg *configs.Config, account string) (tokenserver.Identity, error)

// accessExplainVerb is `gatehouse access explain`, for accounts as identify knows them.
func (p *program) accessExplainVerb(identify identifier) *cobra.Command {
	var q question
	verb := &cobra.Command{
		Use: "explain ACCOUNT REPOSITORY [ACTION] [CONFIG]", Short: "Say which rule decides, and why",
		Long: `Says whether an account may do something with a repository, which rule of tokenserver.access decides that, and why each rule
before it did not. ACTION is pull (the default), push, delete or catalog; for the catalog REPOSITORY is "**". The groups of an account that its
source does not tell are given with --group; with --anonymous there is no ACCOUNT. Nothing is changed, and no server needs to run.`,
		RunE: func(c *cobra.Command, args []string) error {
			rest, err := q.read(c, args)
			if err != nil {
				return err
			}
			cfg, err := p.config(rest)
			if err != nil {
				return err
			}
			return p.explainAccess(c.Context(), cfg, rest, q, identify)
		},
	}
	verb.Flags().StringArrayVar(&q.groups, "group", nil, "a group that the account is in; may be repeated")
	verb.Flags().StringVar(&q.address, "address", "", "where the request comes from")
	verb.Flags().BoolVar(&q.anonymous, "anonymous", false, "without credentials; then there is no ACCOUNT")
	verb.Flags().BoolVar(&q.asJSON, "json", false, "print one JSON object")
	return verb
}

// read takes the question out of the arguments and returns what is left, which is CONFIG or nothing.
func (q *question) read(c *cobra.Command, args []string) (rest []string, err error) {
	take := func() (one string) {
		if len(args) > 0 {
			one, args = args[0], args[1:]
		}
		return one
	}
	if !q.anonymous {
		if q.account = take(); q.account == "" {
			return nil, usageError{fmt.Errorf("%s takes an ACCOUNT and a REPOSITORY; --anonymous stands for no account", c.CommandPath())}
		}
	} else if len(q.groups) > 0 {
		return nil, usageError{errors.New("the anonymous are in no group: --group and --anonymous exclude each other")}
	}
	if q.repository = take(); q.repository == "" {
		return nil, usageError{fmt.Errorf("%s takes a REPOSITORY", c.CommandPath())}
	}
	q.action = "pull"
	if len(args) > 0 && slices.Contains([]string{"pull", "push", "delete", "catalog"}, args[0]) {
		q.action = take()
	}
	switch {
	case len(args) > 1:
		return nil, usageError{fmt.Errorf("%q is no action; use pull, push, delete or catalog", args[0])}
	case (q.action == "catalog") != (q.repository == "**"):
		return nil, usageError{errors.New(`the catalog is of every repository: ask for "**" catalog`)}
	case q.action != "catalog" && !isRepository(q.repository):
		return nil, usageError{fmt.Errorf("%q cannot be a repository's name", q.repository)}
	}
	return args, nil
}

// isRepository reports whether a scope can have the name.
func isRepository(name string) bool {
	list, err := token.ParseScopes([]string{"repository:" + name + ":pull"})
	return err == nil && len(list) == 1 && list[0].Name == name
}

// verdict is the answer to a question, for --json.
type verdict struct {
	Account    string    `json:"account"` // "" is anonymous
	Groups     []string  `json:"groups,omitempty"`
	Address    string    `json:"address,omitempty"`
	Repository string    `json:"repository"`
	Action     string    `json:"action"`
	Allowed    bool      `json:"allowed"`
	Granted    []string  `json:"granted"`
	Rule       *place    `json:"rule"`             // that decides; null: none does
	Unsure     bool      `json:"unsure,omitempty"` // it depends on the address, which was not given
	Message    string    `json:"message,omitempty"`
	Earlier    []earlier `json:"earlier"`
	Later      *place    `json:"later,omitempty"` // would allow it, but does not decide
	Needed     string    `json:"needed,omitempty"`

	ofAddresses bool // Rule is the one that depends on the address
}

// place is a rule and where it stands.
type place struct {
	Name string `json:"name"`
	Path string `json:"path,omitempty"` // in the file; none of a robot's scope
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Text string `json:"text,omitempty"`
}

// earlier is a rule before the one that decides.
type earlier struct {
	place
	Mismatch string `json:"mismatch"`
	Why      string `json:"why"`
}

// explainAccess answers q from cfg, which rest names.
func (p *program) explainAccess(ctx context.Context, cfg *configs.Config, rest []string, q question, identify identifier) error {
	var who tokenserver.Identity
	var err error
	if !q.anonymous {
		if who, err = identify(ctx, cfg, q.account); err != nil {
			return err
		}
		who.Groups = append(who.Groups, q.groups...)
	}
	if q.address != "" {
		if who.Address, err = access.Address(q.address); err != nil {
			return usageError{err}
		}
	}
	v := verdict{Account: who.Account, Groups: who.Groups, Address: q.address, Repository: q.repository, Action: q.action,
		Earlier: []earlier{}}
	switch {
	case who.Own != nil:
		err = v.byOwnScope(ctx, who)
	case cfg.TokenServer.Access == nil && cfg.Auth.Htpasswd == nil:
		return configError{errors.New("the configuration has no tokenserver.access and no users: there are no rules to explain")}
	default:
		err = v.byRules(cfg, who, p.ruleLines(rest))
	}
	if err != nil {
		return err
	}
	if q.asJSON {
		data, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return fmt.Errorf("print the answer: %w", err)
		}
		_, err = fmt.Fprintf(p.stdout, "%s\n", data)
		return err
	}
	return v.print(p.stdout)
}

// byOwnScope answers for an identity with a scope of its own.
func (v *verdict) byOwnScope(ctx context.Context, who tokenserver.Identity) error {
	asked := token.Access{Type: "repository", Name: v.Repository, Actions: []string{v.Action}}
	if v.Action == "catalog" {
		asked = token.Access{Type: "registry", Name: "catalog", Actions: []string{"*"}}
	}
	decisions, err := who.Own.Authorize(ctx, who, []token.Access{asked})
	if err != nil {
		return err
	}
	if len(decisions) != 1 {
		return errors.New("the account's own scope gave no answer")
	}
	d := decisions[0]
	v.Granted, v.Allowed, v.Message = d.Actions, len(d.Actions) > 0, d.Message
	v.Rule = &place{Name: d.Rule, Text: "the account's own scope decides, not tokenserver.access"}
	if !v.Allowed {
		v.Needed = "an account with this in its own scope"
	}
	return nil
}

// byRules answers for everybody else.
func (v *verdict) byRules(cfg *configs.Config, who tokenserver.Identity, at rulePlaces) error {
	rules, err := access.New(cfg.TokenServer.Access, cfg.TokenServer.Access == nil)
	if err != nil {
		return configError{err}
	}
	e := rules.Explain(who, v.Repository, v.Action)
	where := func(i int) *place {
		if i < 0 {
			return nil
		}
		pl := &place{Name: rules.Name(i), Path: fmt.Sprintf("tokenserver.access[%d]", i), File: at.file, Text: rules.Text(i)}
		if cfg.TokenServer.Access == nil {
			pl.Path = ""
		} else if i < len(at.of) {
			pl.Line = at.of[i]
		}
		return pl
	}
	v.Unsure, v.ofAddresses = e.Unsure, e.Unsure && e.Decider >= 0 && len(cfg.TokenServer.Access[e.Decider].Address) > 0
	v.Granted, v.Allowed = append([]string{}, e.Granted...), slices.Contains(e.Granted, v.Action) || slices.Contains(e.Granted, "*")
	v.Rule, v.Later = where(e.Decider), where(e.Later)
	for i, s := range e.Earlier {
		v.Earlier = append(v.Earlier, earlier{*where(i), s.Mismatch, s.Why})
	}
	if v.Allowed {
		v.Later = nil
		return nil
	}
	if v.Message = e.Message; v.Unsure {
		v.Needed = "it depends on where the request comes from; say that with --address"
		return nil
	}
	rule := access.Text(access.Needed(who, v.Repository, v.Action, e.Granted))
	if v.Rule != nil {
		v.Needed = "a rule before " + v.Rule.Path + ", such as\n  - " + rule
	} else {
		v.Needed = "a rule, such as\n  - " + rule
	}
	return nil
}

// print writes the answer for a person: the verdict first, the deciding rule marked below those before it.
func (v *verdict) print(w io.Writer) error {
	b := &bytes.Buffer{}
	who, what := v.Account, v.Action+" "+v.Repository
	if who == "" {
		who = "anybody without credentials"
	}
	switch v.Action {
	case "push":
		what = "push to " + v.Repository
	case "catalog":
		what = "list the repositories"
	}
	may := "may"
	if !v.Allowed {
		may = "may not"
	}
	if v.Unsure {
		what += " from every address"
	}
	fmt.Fprintf(b, "%s %s %s\n\n", shown(who), may, what)
	for _, e := range v.Earlier {
		fmt.Fprintf(b, "  %s: no: %s: %s\n", e.where(), e.Mismatch, shown(e.Why))
	}
	switch {
	case v.Rule == nil:
		fmt.Fprintln(b, "→ no rule matches, so nothing is granted")
	case v.ofAddresses:
		fmt.Fprintf(b, "→ %s decides for its addresses\n    %s\n", v.Rule.where(), shown(v.Rule.Text))
	default:
		granted := "nothing"
		if len(v.Granted) > 0 {
			granted = strings.Join(v.Granted, ", ")
		}
		fmt.Fprintf(b, "→ %s decides, and grants %s\n    %s\n", v.Rule.where(), granted, shown(v.Rule.Text))
	}
	if v.Message != "" {
		fmt.Fprintf(b, "  clients are told: %s\n", shown(v.Message))
	}
	if v.Later != nil {
		fmt.Fprintf(b, "\n%s would allow it, but comes later\n    %s\n", v.Later.where(), shown(v.Later.Text))
	}
	if v.Needed != "" {
		fmt.Fprintf(b, "\n%s: %s\n", map[bool]string{true: "to know more", false: "to allow it"}[v.Unsure], v.Needed)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// where is how a rule is named to a person.
func (pl *place) where() string {
	text := pl.Name
	if pl.Path != "" && pl.Path != pl.Name {
		text = fmt.Sprintf("%q, %s", pl.Name, pl.Path)
	}
	if pl.Line > 0 {
		text += fmt.Sprintf(" (%s:%d)", pl.File, pl.Line)
	}
	return text
}

// shown is text for a terminal: what could play tricks with it is quoted.
func shown(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.QuoteToASCII(text)
	}
	return text
}

// rulePlaces says where the rules of a configuration stand.
type rulePlaces struct {
	file string
	of   []int // by rule; empty where it is not known
}

// ruleLines finds the rules in the file that rest names. Where a variable has set rules no line is known, and none is told either where
// the file has its own way to say things, such as aliases.
func (p *program) ruleLines(rest []string) rulePlaces {
	at := rulePlaces{file: p.configPath(rest)}
	for _, v := range p.environ {
		if strings.HasPrefix(v, "REGISTRY_TOKENSERVER") {
			return at
		}
	}
	data, err := os.ReadFile(at.file)
	if err != nil {
		return at
	}
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) != 1 {
		return at
	}
	n := doc.Content[0]
	for _, key := range []string{"tokenserver", "access"} {
		i := -1
		if n.Kind == yaml.MappingNode {
			i = slices.IndexFunc(n.Content, func(k *yaml.Node) bool { return k.Value == key })
		}
		if i < 0 || i%2 != 0 || i+1 >= len(n.Content) {
			return at
		}
		n = n.Content[i+1]
	}
	for _, item := range n.Content {
		at.of = append(at.of, item.Line)
	}
	return at
}
