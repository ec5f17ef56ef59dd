package gateway
import ("testing";"bufio";"syscall";"time")
func cpu() time.Duration { var r syscall.Rusage; syscall.Getrusage(0,&r); return time.Duration(r.Utime.Nano()+r.Stime.Nano()) }
func BenchmarkZZ(b *testing.B) {
	p := h1
	c1 := bare(b,p,blob(b,64<<20))()
	c2 := chain(b,p,blob(b,64<<20),true)()
	in1 := bufio.NewReaderSize(c1, 64<<10)
	in2 := bufio.NewReaderSize(c2, 64<<10)
	best1, best2 := time.Hour, time.Hour
	_ = c1.SetDeadline(time.Time{}); _ = c2.SetDeadline(time.Time{})
	for range 15 {
		a:=cpu(); for range 3 { get(b,c1,in1,64<<20) }; if d:=cpu()-a; d<best1 {best1=d}
		a=cpu(); for range 3 { get(b,c2,in2,64<<20) }; if d:=cpu()-a; d<best2 {best2=d}
	}
	b.Logf("bare %.0f chain %.0f MB per cpu second", float64(3*64*1.048576)/best1.Seconds(), float64(3*64*1.048576)/best2.Seconds())
}
