package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/tokenserver"
)

func (p *program) userVerb() *cobra.Command {
	verb := &cobra.Command{Use: "user", Short: "Manage the users of the htpasswd file", Args: noArgs,
		Long: `Manages the users of the htpasswd file that auth.htpasswd.path names. A running server follows within seconds.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	verb.AddCommand(
		p.passwordVerb("add", "Add a user", (*tokenserver.HtpasswdFile).Add),
		p.passwordVerb("passwd", "Change a user's password", (*tokenserver.HtpasswdFile).SetPassword),
		&cobra.Command{
			Use: "rm NAME [CONFIG]", Short: "Remove a user", Args: nameAndConfig,
			RunE: func(_ *cobra.Command, args []string) error {
				file, err := p.htpasswd(args[1:])
				if err != nil {
					return err
				}
				return file.Remove(args[0])
			},
		},
		&cobra.Command{
			Use: "ls [CONFIG]", Short: "List the users", Args: optionalConfig,
			RunE: func(_ *cobra.Command, args []string) error {
				file, err := p.htpasswd(args)
				if err != nil {
					return err
				}
				users, err := file.List()
				for _, u := range users {
					if u.Problem == nil {
						fmt.Fprintln(p.stdout, u.Account)
					} else {
						fmt.Fprintf(p.stdout, "%s\t(cannot log in: %v)\n", u.Account, u.Problem)
					}
				}
				return err
			},
		},
	)
	return verb
}

// passwordVerb is a verb that gives a user a password.
func (p *program) passwordVerb(name, short string, set func(*tokenserver.HtpasswdFile, string, string) error) *cobra.Command {
	var fromStdin, generate bool
	verb := &cobra.Command{
		Use: name + " NAME [CONFIG]", Short: short, Args: nameAndConfig,
		Long: short + `. The password is asked for on the terminal, twice; or read from standard input, or generated and printed.`,
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := p.htpasswd(args[1:])
			if err != nil {
				return err
			}
			var password string
			switch {
			case generate:
				password = newPassword()
			case fromStdin:
				password, err = readPassword(p.stdin)
			default:
				password, err = p.askPassword(args[0])
			}
			if err != nil {
				return err
			}
			if err := set(file, args[0], password); err != nil {
				return err
			}
			if generate {
				_, err = fmt.Fprintln(p.stdout, password)
			}
			return err
		},
	}
	verb.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input, one line")
	verb.Flags().BoolVar(&generate, "generate", false, "make a password and print it")
	verb.MarkFlagsMutuallyExclusive("password-stdin", "generate")
	return verb
}

func nameAndConfig(c *cobra.Command, args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return usageError{fmt.Errorf("%s takes a NAME, and one CONFIG at most", c.CommandPath())}
	}
	return nil
}

// htpasswd returns the file of users that the configuration names.
func (p *program) htpasswd(args []string) (*tokenserver.HtpasswdFile, error) {
	cfg, err := p.config(args)
	if err != nil {
		return nil, err
	}
	if cfg.Auth.Htpasswd == nil {
		return nil, configError{errors.New("the configuration has no auth.htpasswd.path to keep users in")}
	}
	return tokenserver.NewHtpasswdFile(cfg.Auth.Htpasswd.Path), nil
}

// newPassword returns 130 random bits in letters and digits.
func newPassword() string { return strings.ToLower(rand.Text()) }

// readPassword returns the first line of r.
func readPassword(r io.Reader) (string, error) {
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read the password: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("the password on standard input is empty")
	}
	return line, nil
}

// askPassword asks on the terminal for a password, without showing it.
func (p *program) askPassword(name string) (string, error) {
	f, ok := p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", usageError{errors.New("standard input is no terminal: use --password-stdin or --generate")}
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(p.stderr, prompt)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(p.stderr)
		return string(b), err
	}
	first, err := ask("Password of " + name + ": ")
	if err != nil {
		return "", err
	}
	again, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if first != again {
		return "", errors.New("the passwords differ; nothing was changed")
	}
	return first, nil
}
