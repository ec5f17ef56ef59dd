package dockerauth

import (
	"fmt"
	"strings"

	"gatehouse/tokenserver/access"
)

// YAML is the result as a section of a configuration, with comments, and the lines for the htpasswd file in comments below.
func (r *Result) YAML() string {
	b := &strings.Builder{}
	b.WriteString("tokenserver:\n  access:")
	rules := 0
	for _, one := range r.Rules {
		if one.Rule != nil {
			rules++
		}
	}
	if rules == 0 {
		b.WriteString(" []")
	}
	b.WriteByte('\n')
	for _, one := range r.Rules {
		for _, c := range one.Comments {
			fmt.Fprintf(b, "    # %s\n", oneLine(c))
		}
		if one.Rule == nil {
			continue
		}
		b.WriteString("    - " + access.Text(*one.Rule))
		if len(one.Marks) > 0 {
			b.WriteString("  # " + oneLine(strings.Join(one.Marks, "; ")))
		}
		b.WriteByte('\n')
	}
	if len(r.Users) > 0 {
		b.WriteString("\n# Users: lines for the file that auth.htpasswd.path names.\n")
		for _, line := range r.Users {
			b.WriteString("# " + line + "\n")
		}
	}
	return b.String()
}
