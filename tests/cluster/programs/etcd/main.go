// The API server's store. Distributions' packages are too old for what today's API servers ask of it (watches that report their progress).
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
