package zaplog

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger returns a zap logger and what it has written so far, without times.
func newLogger(level slog.Level) (*zap.Logger, *bytes.Buffer) {
	written := new(bytes.Buffer)
	return New(slog.New(slog.NewTextHandler(written, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))), written
}

// point is a zapcore.ObjectMarshaler.
type point struct{ x, y int }

func (p point) MarshalLogObject(e zapcore.ObjectEncoder) error {
	e.AddInt("x", p.x)
	e.AddInt("y", p.y)
	return nil
}

func TestFields(t *testing.T) {
	for _, test := range []struct {
		name string
		log  func(l *zap.Logger)
		want string
	}{
		{"none", func(l *zap.Logger) { l.Info("hello") }, `level=INFO msg=hello`},
		{"error", func(l *zap.Logger) { l.Error("no", zap.Error(errors.New("cause"))) }, `level=ERROR msg=no err=cause`},
		{"no error", func(l *zap.Logger) { l.Error("no", zap.Error(nil)) }, `level=ERROR msg=no`},
		{"named error", func(l *zap.Logger) { l.Warn("no", zap.NamedError("first", errors.New("cause"))) }, `level=WARN msg=no first=cause`},
		{"plain", func(l *zap.Logger) {
			l.Info("m", zap.String("s", "a b"), zap.Int("i", -1), zap.Bool("b", true), zap.Duration("d", time.Second),
				zap.Strings("ss", []string{"a", "b"}), zap.Any("any", 1.5))
		}, `level=INFO msg=m s="a b" i=-1 b=true d=1s ss="[a b]" any=1.5`},
		{"object", func(l *zap.Logger) { l.Info("m", zap.Object("p", point{1, 2})) }, `level=INFO msg=m p="map[x:1 y:2]"`},
		{"with", func(l *zap.Logger) { l.With(zap.Int("a", 1)).With(zap.Int("b", 2)).Info("m", zap.Int("c", 3)) }, `level=INFO msg=m a=1 b=2 c=3`},
		{"with nothing", func(l *zap.Logger) { l.With().Info("m") }, `level=INFO msg=m`},
		{"namespace", func(l *zap.Logger) {
			l.With(zap.Int("a", 1), zap.Namespace("n"), zap.Int("b", 2)).Info("m", zap.Int("c", 3))
		}, `level=INFO msg=m a=1 n.b=2 n.c=3`},
		{"namespace in entry", func(l *zap.Logger) { l.Info("m", zap.Int("a", 1), zap.Namespace("n"), zap.Int("b", 2)) }, `level=INFO msg=m a=1 n.b=2`},
		{"name", func(l *zap.Logger) { l.Named("outer").Named("inner").Info("m") }, `level=INFO msg=m logger=outer.inner`},
		{"sugar", func(l *zap.Logger) { l.Sugar().Infof("%d of %d", 1, 2) }, `level=INFO msg="1 of 2"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, written := newLogger(slog.LevelInfo)
			test.log(l)
			if got := string(bytes.TrimSpace(written.Bytes())); got != test.want {
				t.Errorf("wrote %s\nwant  %s", got, test.want)
			}
		})
	}
}

func TestLevels(t *testing.T) {
	entries := func(l *zap.Logger) {
		l.Debug("d")
		l.Info("i")
		l.Warn("w")
		l.Error("e")
		l.DPanic("p")
	}
	for level, want := range map[slog.Level]string{
		slog.LevelDebug: "level=DEBUG msg=d\nlevel=INFO msg=i\nlevel=WARN msg=w\nlevel=ERROR msg=e\nlevel=ERROR msg=p\n",
		slog.LevelWarn:  "level=WARN msg=w\nlevel=ERROR msg=e\nlevel=ERROR msg=p\n",
		slog.LevelError: "level=ERROR msg=e\nlevel=ERROR msg=p\n",
	} {
		l, written := newLogger(level)
		entries(l)
		if got := written.String(); got != want {
			t.Errorf("at %v wrote\n%s\nwant\n%s", level, got, want)
		}
	}
}

// TestDisabled shows that entries below the level are not even translated.
func TestDisabled(t *testing.T) {
	l, written := newLogger(slog.LevelInfo)
	if checked := l.Check(zapcore.DebugLevel, "m"); checked != nil {
		t.Error("a debug entry would be written")
	}
	if err := l.Sync(); err != nil {
		t.Error(err)
	}
	if written.Len() > 0 {
		t.Errorf("wrote %s", written)
	}
}
