package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (p *program) configVerb() *cobra.Command {
	verb := &cobra.Command{Use: "config", Short: "Look at the configuration", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	verb.AddCommand(&cobra.Command{
		Use:   "check [CONFIG]",
		Short: "Say what is wrong with the configuration, and change nothing",
		Long: `Reads the configuration as serve does, the REGISTRY_* variables included, and says what is wrong with it.
Errors end with exit code 3; warnings are printed and end with 0.`,
		Args: optionalConfig,
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := p.config(args); err != nil {
				return err
			}
			name := p.configPath(args)
			if name == "" {
				name = "the embedded default"
			}
			_, err := fmt.Fprintf(p.stdout, "%s is right\n", name)
			return err
		},
	})
	return verb
}

func optionalConfig(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError{fmt.Errorf("%s takes one CONFIG at most", c.CommandPath())}
	}
	return nil
}
