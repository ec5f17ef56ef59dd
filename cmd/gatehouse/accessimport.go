package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/tokenserver/access/dockerauth"
)

// accessImportVerb is `gatehouse access import`.
func (p *program) accessImportVerb() *cobra.Command {
	var output, users string
	var strict bool
	verb := &cobra.Command{
		Use: "import FILE", Short: "Turn the ACL and the users of docker_auth into access rules",
		Long: `Reads the configuration of cesanta/docker_auth and prints what its acl and its users are here: rules for tokenserver.access,
and lines for the htpasswd file. What cannot be said is in a comment and a warning, and never ends in more than docker_auth granted: a refusal that
cannot be said is widened, and what comes behind a lost grant is narrowed to it. Regular expressions match parts of names there; the
rules say so, and are marked. Users without a password, for whom any password would do, are not carried over.`,
		Args: func(c *cobra.Command, args []string) error { return operands(c, args, 1, 1, "a FILE") },
		RunE: func(_ *cobra.Command, args []string) error {
			result, err := readDockerAuth(args[0])
			if err != nil {
				return err
			}
			for _, w := range result.Warnings {
				fmt.Fprintf(p.stderr, "gatehouse: warning: %s\n", shown(w))
			}
			if strict && len(result.Warnings) > 0 {
				return fmt.Errorf("%s: %d warnings, and --strict allows none; nothing was written", args[0], len(result.Warnings))
			}
			lines := strings.Join(append(result.Users, ""), "\n")
			if users != "" {
				if err := writeNew(users, lines); err != nil {
					return err
				}
				result.Users = nil
			}
			if output != "" {
				return writeNew(output, result.YAML())
			}
			_, err = io.WriteString(p.stdout, result.YAML())
			return err
		},
	}
	verb.Flags().StringVar(&output, "output", "", "write the rules to this new file instead of printing them")
	verb.Flags().StringVar(&users, "htpasswd", "", "write the users to this new file instead of into a comment")
	verb.Flags().BoolVar(&strict, "strict", false, "fail where there is anything to warn of, and write nothing")
	return verb
}

// readDockerAuth reads and converts a file.
func readDockerAuth(path string) (*dockerauth.Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the configuration of docker_auth: %w", err)
	}
	defer f.Close()
	const most = 8 << 20
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("read the configuration of docker_auth: %w", err)
	}
	result, err := dockerauth.Convert(data)
	if err != nil {
		return nil, configError{fmt.Errorf("%s: %w", path, err)}
	}
	return result, nil
}

// writeNew writes a file that is not there yet, for its owner's eyes: hashes of passwords may be in it.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
