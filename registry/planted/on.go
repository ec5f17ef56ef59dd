//go:build bugs

package planted

import "os"

// On reports whether a bug is planted.
func On(b Bug) bool { return os.Getenv("GATEHOUSE_BUG") == string(b) }
