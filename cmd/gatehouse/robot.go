package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/configs"
	"gatehouse/tokenserver/access"
	"gatehouse/tokenserver/robots"
)

// robotLife is how long a robot lives of which nothing else is said.
const robotLife = "365d"

func (p *program) robotVerb() *cobra.Command {
	verb := &cobra.Command{Use: "robot", Short: "Manage robot accounts: secrets for machines, each with a scope of its own", Args: noArgs,
		Long: `Manages robot accounts. The robot NAME logs in as robot$NAME (mind the shell: 'robot$ci'), with a secret that is printed once. It
may do what its own scope says, whatever the access rules are, until it expires. A running server follows at once; none needs to
run.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	verb.AddCommand(p.robotAddVerb(), p.robotListVerb(), p.robotRotateVerb(), &cobra.Command{
		Use: "rm NAME [CONFIG]", Short: "Remove a robot", Args: nameAndConfig,
		RunE: func(_ *cobra.Command, args []string) error {
			r, _, err := p.robots(args[1:])
			if err != nil {
				return err
			}
			return r.Remove(args[0])
		},
	})
	return verb
}

// robots returns the robots of the server that the configuration describes.
func (p *program) robots(args []string) (*robots.Robots, *configs.Config, error) {
	cfg, err := p.config(args)
	if err != nil {
		return nil, nil, err
	}
	if cfg.DataDir() == "" {
		return nil, nil, configError{errors.New("storage in memory has no folder to keep robots in")}
	}
	return robots.Open(robotsDir(cfg.DataDir()), time.Now, nil), cfg, nil
}

// robotsDir is the folder of robots in the data folder.
func robotsDir(data string) string { return filepath.Join(data, "robots") }

// robotSecret is what verbs that make a secret have in common: how long it lives, and how it is printed.
type robotSecret struct {
	expires      string
	never        bool
	dockerConfig bool
	server       string
}

func (s *robotSecret) flags(c *cobra.Command, life string) {
	c.Flags().StringVar(&s.expires, "expires", life, "how long it lives, such as 90d or 12h")
	c.Flags().BoolVar(&s.never, "never", false, "it never expires")
	c.Flags().BoolVar(&s.dockerConfig, "docker-config", false, "print a config.json with the secret, for clients that never log in")
	c.Flags().StringVar(&s.server, "server", "", "host or host:port in that config.json (default the one of http.host)")
	c.MarkFlagsMutuallyExclusive("expires", "never")
}

// end returns when a robot of now expires: zero for never, nil if nothing was said.
func (s *robotSecret) end(now time.Time) (*time.Time, error) {
	if s.never {
		return &time.Time{}, nil
	}
	if s.expires == "" {
		return nil, nil
	}
	life, err := parseLife(s.expires)
	if err != nil {
		return nil, usageError{err}
	}
	end := now.Add(life)
	return &end, nil
}

// parseLife reads a duration, with d for days besides Go's units.
func parseLife(text string) (time.Duration, error) {
	const day = 24 * time.Hour
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= 36500 {
			return time.Duration(n) * day, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d, nil
	}
	return 0, fmt.Errorf("--expires %q is no time to live: write it like 90d or 12h, or use --never", text)
}

// host returns the name of the server in a config.json. It is asked for before anything is made.
func (s *robotSecret) host(cfg *configs.Config) (string, error) {
	if !s.dockerConfig {
		return "", nil
	}
	host := s.server
	if host == "" && cfg.HTTP.Host != "" {
		u, err := url.Parse(cfg.HTTP.Host)
		if err != nil {
			return "", configError{fmt.Errorf("http.host: %w", err)}
		}
		host = u.Host
	}
	if u, err := url.Parse("https://" + host); host == "" || err != nil || u.Host != host {
		return "", usageError{errors.New("--docker-config needs --server HOST, as clients write it before the repository: " +
			"the configuration has no http.host")}
	}
	return host, nil
}

// printRobotSecret prints a secret, this once: alone on standard output, so that scripts can use it.
func (p *program) printRobotSecret(account, secret, host string) error {
	fmt.Fprintf(p.stderr, "The account is %s. Its secret is shown this once.\n", account)
	if host == "" {
		_, err := fmt.Fprintln(p.stdout, secret)
		return err
	}
	type login struct {
		Auth string `json:"auth"`
	}
	out := json.NewEncoder(p.stdout)
	out.SetIndent("", "\t")
	return out.Encode(struct {
		Auths map[string]login `json:"auths"`
	}{map[string]login{host: {base64.StdEncoding.EncodeToString([]byte(account + ":" + secret))}}})
}

func (p *program) robotAddVerb() *cobra.Command {
	var (
		made        robotSecret
		scope       []string
		description string
	)
	verb := &cobra.Command{
		Use: "add NAME --repository GLOB[:ACTION,...] [CONFIG]", Short: "Make a robot and print its secret", Args: nameAndConfig,
		Long: `Makes a robot and prints its secret. Each --repository grants actions on the repositories that a glob matches, as in an access
rule: * within a component, ** across components. Actions are pull (the default), push, delete, or "*" for all.`,
		Example: `  gatehouse robot add ci --repository 'team/**:pull,push' --repository 'base/*' --expires 90d
  umask 077  # the secret is in the file
  gatehouse robot add node-7 --repository '**' --never --docker-config --server registry.example.com > config.json`,
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case len(scope) == 0:
				return usageError{errors.New("a robot needs a --repository that it may use")}
			case made.expires == "" && !made.never:
				return usageError{errors.New("--expires is empty: say how long the robot lives, or --never")}
			}
			r, cfg, err := p.robots(args[1:])
			if err != nil {
				return err
			}
			host, err := made.host(cfg)
			if err != nil {
				return err
			}
			expires, err := made.end(time.Now())
			if err != nil {
				return err
			}
			robot := robots.Robot{Name: args[0], Description: description, Grants: readGrants(scope), Expires: *expires}
			secret, err := r.Add(robot)
			if err != nil {
				return err
			}
			return p.printRobotSecret(robot.Account(), secret, host)
		},
	}
	made.flags(verb, robotLife)
	verb.Flags().StringArrayVar(&scope, "repository", nil, "GLOB, or GLOB:ACTION,...; may be given again")
	verb.Flags().StringVar(&description, "description", "", "what it is for")
	return verb
}

// readGrants reads --repository. Whether it makes sense is for who keeps it to say.
func readGrants(scope []string) []access.Grant {
	grants := make([]access.Grant, len(scope))
	for i, text := range scope {
		glob, actions, found := strings.Cut(text, ":")
		if !found {
			actions = "pull"
		}
		grants[i] = access.Grant{Repository: glob, Actions: strings.Split(actions, ",")}
	}
	return grants
}

func (p *program) robotRotateVerb() *cobra.Command {
	var made robotSecret
	verb := &cobra.Command{
		Use: "rotate NAME [CONFIG]", Short: "Give a robot another secret and print it", Args: nameAndConfig,
		Long: `Gives a robot another secret and prints it. The old one is refused from then on. Without --expires and --never it lives as long
again as it was to live before.`,
		RunE: func(_ *cobra.Command, args []string) error {
			r, cfg, err := p.robots(args[1:])
			if err != nil {
				return err
			}
			host, err := made.host(cfg)
			if err != nil {
				return err
			}
			expires, err := made.end(time.Now())
			if err != nil {
				return err
			}
			secret, err := r.Rotate(args[0], expires)
			if err != nil {
				return err
			}
			return p.printRobotSecret(robots.Prefix+args[0], secret, host)
		},
	}
	made.flags(verb, "")
	return verb
}

// robotLine is a robot in JSON.
type robotLine struct {
	Account     string         `json:"account"`
	Description string         `json:"description,omitempty"`
	Grants      []access.Grant `json:"grants"`
	State       string         `json:"state"` // active, expired, disabled or damaged
	Created     time.Time      `json:"created,omitzero"`
	Changed     time.Time      `json:"changed,omitzero"`
	Expires     time.Time      `json:"expires,omitzero"`
	Used        time.Time      `json:"used,omitzero"`
}

func (p *program) robotListVerb() *cobra.Command {
	var asJSON bool
	verb := &cobra.Command{
		Use: "ls [CONFIG]", Short: "List the robots, what they may do and when they were used last", Args: optionalConfig,
		RunE: func(_ *cobra.Command, args []string) error {
			r, _, err := p.robots(args)
			if err != nil {
				return err
			}
			t, out := newTable(p.stdout), json.NewEncoder(p.stdout)
			out.SetEscapeHTML(false)
			t.header = []string{"ACCOUNT", "STATE", "SCOPE", "EXPIRES", "USED", "DESCRIPTION"}
			var damaged error
			err = r.All(func(robot robots.Robot, err error) error {
				line := newRobotLine(robot, time.Now())
				if err != nil {
					damaged, line.State = errors.Join(damaged, err), "damaged"
				}
				if asJSON {
					return out.Encode(line)
				}
				return line.row(t)
			})
			return errors.Join(err, t.w.Flush(), damaged)
		},
	}
	verb.Flags().BoolVar(&asJSON, "json", false, "a JSON object in each line")
	return verb
}

func newRobotLine(r robots.Robot, now time.Time) robotLine {
	line := robotLine{Account: r.Account(), Description: r.Description, Grants: r.Grants, State: "active", Created: r.Created,
		Changed: r.Changed, Expires: r.Expires, Used: r.Used}
	switch {
	case r.Disabled:
		line.State = "disabled"
	case r.Expired(now):
		line.State = "expired"
	}
	return line
}

// row prints a robot for people.
func (l robotLine) row(t *table) error {
	scope := make([]string, len(l.Grants))
	for i, g := range l.Grants {
		scope[i] = g.Repository + ":" + strings.Join(g.Actions, ",")
	}
	day := func(at time.Time, none string) string {
		if at.IsZero() {
			return none
		}
		return at.Local().Format(time.DateOnly)
	}
	return t.row(l.Account, l.State, strings.Join(scope, " "), day(l.Expires, "never"), day(l.Used, "never"), l.Description)
}
