module gatehouse

go 1.26.8

require (
	github.com/aws/aws-sdk-go-v2 v1.47.6 // S3 as AWS speaks it: signing, retries, endpoints
	github.com/aws/aws-sdk-go-v2/config v1.33.14 // S3: credentials where AWS's own programs find them
	github.com/aws/aws-sdk-go-v2/credentials v1.20.14 // S3: the access key of the configuration
	github.com/aws/aws-sdk-go-v2/service/s3 v1.114.7 // S3: the requests
	github.com/aws/smithy-go v1.28.8 // S3: the errors of the SDK
	github.com/caddyserver/certmagic v0.25.6 // ACME: ordering, renewal, storage of certificates
	github.com/coreos/go-oidc/v3 v3.21.0 // workload identity: what an OpenID Connect token has to say
	github.com/docker/libtrust v0.0.0-20160708172513-aabc10ec26b7 // key ids that registry:2 knows
	github.com/go-jose/go-jose/v4 v4.1.8 // workload identity: key sets and signatures, as go-oidc takes them
	github.com/go-ldap/ldap/v3 v3.4.15 // users and groups of a directory
	github.com/golang-jwt/jwt/v5 v5.3.1 // signing and parsing tokens
	github.com/google/uuid v1.6.0 // upload ids of distribution's form
	github.com/mholt/acmez/v3 v3.1.7 // certmagic's ACME client: its errors and challenge types
	github.com/opencontainers/go-digest v1.0.0 // digests as the specification has them
	github.com/prometheus/client_golang v1.25.0 // metrics
	github.com/rogpeppe/go-internal v1.16.0 // tests: testscript runs the programme in scripts
	github.com/spf13/cobra v1.10.2 // verbs, help, shell completion
	github.com/tidwall/btree v1.8.2 // the index: an ordered map whose snapshots cost nothing
	go.etcd.io/bbolt v1.5.0 // the index on one machine: a B+tree in a file, with transactions
	go.etcd.io/etcd/client/v3 v3.7.3 // settings that platform teams edit
	go.uber.org/zap v1.28.0 // certmagic and the etcd client log through it; bridged to log/slog
	go.yaml.in/yaml/v3 v3.0.6 // config.yml, with the position of each node
	golang.org/x/crypto v0.58.0 // bcrypt
	golang.org/x/net v0.61.0 // tests: HTTP/2 frames that no client sends
	golang.org/x/sync v0.24.0 // errgroup, singleflight
	golang.org/x/sys v0.49.0 // renameat, statfs, unlinkat below os.Root
	golang.org/x/term v0.47.0 // asking for a password without showing it
	google.golang.org/grpc v1.83.2 // etcd: back-off and state of its connection
)

require (
	github.com/Azure/go-ntlmssp v0.1.1 // indirect
	github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream v1.7.26 // indirect
	github.com/aws/aws-sdk-go-v2/feature/ec2/imds v1.20.6 // indirect
	github.com/aws/aws-sdk-go-v2/internal/configsources v1.5.9 // indirect
	github.com/aws/aws-sdk-go-v2/internal/endpoints/v2 v2.8.9 // indirect
	github.com/aws/aws-sdk-go-v2/internal/v4a v1.5.9 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/accept-encoding v1.13.24 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/checksum v1.11.10 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/presigned-url v1.14.9 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/s3shared v1.20.9 // indirect
	github.com/aws/aws-sdk-go-v2/service/signin v1.12.2 // indirect
	github.com/aws/aws-sdk-go-v2/service/sso v1.39.2 // indirect
	github.com/aws/aws-sdk-go-v2/service/ssooidc v1.44.2 // indirect
	github.com/aws/aws-sdk-go-v2/service/sts v1.51.7 // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/caddyserver/zerossl v0.1.6 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/coreos/go-semver v0.3.1 // indirect
	github.com/coreos/go-systemd/v22 v22.7.0 // indirect
	github.com/go-asn1-ber/asn1-ber v1.5.8 // indirect
	github.com/golang/protobuf v1.5.4 // indirect
	github.com/grpc-ecosystem/grpc-gateway/v2 v2.29.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/klauspost/cpuid/v2 v2.4.0 // indirect
	github.com/libdns/libdns v1.1.1 // indirect
	github.com/miekg/dns v1.1.73 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	github.com/zeebo/blake3 v0.2.4 // indirect
	go.etcd.io/etcd/api/v3 v3.7.3 // indirect
	go.etcd.io/etcd/client/pkg/v3 v3.7.3 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	go.uber.org/zap/exp v0.3.0 // indirect
	golang.org/x/oauth2 v0.37.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/tools v0.51.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20260803160001-6ac0973c030d // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260803160001-6ac0973c030d // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
