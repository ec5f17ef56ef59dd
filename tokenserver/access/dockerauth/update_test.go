package dockerauth

import "flag"

// update rewrites the reviewed files of testdata.
var update = flag.Bool("update", false, "write golden files")
