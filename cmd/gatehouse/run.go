package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/configs"
)

// Exit codes, for scripts. `gatehouse help exit-codes` prints them.
const (
	exitOK     = 0
	exitFailed = 1 // the verb could not do what it was asked
	exitUsage  = 2 // the command line is wrong; nothing was done
	exitConfig = 3 // the configuration is wrong; nothing was done
)

const exitCodesHelp = `Exit codes:

  0  done
  1  the verb could not do what it was asked; the message says why
  2  the command line is wrong; nothing was done
  3  the configuration is wrong; nothing was done`

// usageError is a command line that cannot be meant; configError a configuration.
type (
	usageError  struct{ error }
	configError struct{ error }
)

func (e usageError) Unwrap() error  { return e.error }
func (e configError) Unwrap() error { return e.error }

// exitCode is the only place that decides how the programme ends.
func exitCode(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, new(usageError)):
		return exitUsage
	case errors.As(err, new(configError)):
		return exitConfig
	}
	return exitFailed
}

// program is what every verb works with.
type program struct {
	environ []string
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	data    string // --data
	addr    string // --addr

	configFile string // --config, of verbs that have no place for CONFIG
}

// run runs the verb that args name. Errors are printed before it returns.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) error {
	p := &program{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr}
	root := p.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "gatehouse: %v\n", err)
		if errors.As(err, new(usageError)) {
			fmt.Fprintln(stderr, "`gatehouse help` lists the verbs, `gatehouse help VERB` says how one is used")
		}
	}
	return err
}

// root returns the tree of verbs.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "gatehouse",
		Short: "A Docker registry with its gateway and its token server, in one binary",
		Long: `gatehouse is a Docker registry with its gateway and its token server, in one binary.

  gatehouse serve            runs it on a folder of its own, with a local CA and a generated administrator
  gatehouse serve CONFIG     runs it on distribution's config.yml

A verb that acts on a server finds it as serve does: by CONFIG or --config, else by the variable
REGISTRY_CONFIGURATION_PATH, else by --data.`,
		Args:          noArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return exclusive(c) }
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&p.data, "data", "gatehouse-data", "folder of the embedded default, used where there is no CONFIG")
	root.AddCommand(p.keyVerb())
	root.AddCommand(p.accessVerb())
	root.AddCommand(p.tokenVerb())
	root.AddCommand(p.robotVerb())
	root.AddCommand(p.serveVerb(), p.versionVerb(), p.userVerb(), p.configVerb(), p.adoptVerb(), p.fsckVerb(),
		p.repoVerb(), p.tagVerb(), p.readOnlyVerb(), p.gcVerb(), p.garbageCollectVerb(),
		&cobra.Command{Use: "exit-codes", Short: "The exit codes, for scripts", Long: exitCodesHelp})
	return root
}

// noArgs, oneArg and optionalConfig check the number of a verb's arguments.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 && c.HasSubCommands() {
		return usageError{fmt.Errorf("there is no verb %q", c.CommandPath()+" "+args[0])}
	}
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument", c.CommandPath())}
	}
	return nil
}

// exclusive refuses flags that exclude each other, as any other command line that cannot be meant. cobra would do it after this.
func exclusive(c *cobra.Command) error {
	err := c.ValidateFlagGroups()
	if err == nil {
		return nil
	}
	if _, set, ok := strings.Cut(err.Error(), "none of the others can be; ["); ok {
		set, _, _ = strings.Cut(set, "]")
		err = fmt.Errorf("--%s exclude each other", strings.Join(strings.Fields(set), " and --"))
	}
	return usageError{err}
}

// config reads the configuration that a verb's last argument, the environment or --data names, and prints its warnings.
func (p *program) config(args []string) (*configs.Config, error) {
	cfg, warnings, err := p.load(args)
	if err != nil {
		return nil, configError{err}
	}
	for _, w := range warnings {
		fmt.Fprintf(p.stderr, "gatehouse: warning: %v\n", w)
	}
	return cfg, nil
}

func (p *program) load(args []string) (*configs.Config, []configs.Warning, error) {
	if path := p.configPath(args); path != "" {
		return configs.Load(path, p.environ)
	}
	if p.data == "" {
		return nil, nil, errors.New("--data is empty: name a folder")
	}
	return configs.Default(p.data, p.environ)
}

// configPath returns the file of the configuration, or "" for the embedded default.
func (p *program) configPath(args []string) string {
	if len(args) > 0 {
		return args[len(args)-1]
	}
	for _, v := range p.environ {
		if path, ok := strings.CutPrefix(v, "REGISTRY_CONFIGURATION_PATH="); ok {
			return path
		}
	}
	return ""
}
