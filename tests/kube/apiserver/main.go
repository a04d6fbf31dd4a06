// A real Kubernetes API server and its etcd in one process, for tests. There are no nodes and no
// controllers: objects are checked, defaulted, admitted, stored and served, and nothing else happens.
//
// usage: apiserver --data DIR [flags of kube-apiserver]
//
// It listens on 127.0.0.1, at a port that the system chooses, and prints its URL as the only line of
// stdout. SIGTERM ends it. DIR is etcd's, and may be thrown away then.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

const etcdPatience = 30 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "apiserver:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	server := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("apiserver", pflag.ContinueOnError)
	data := flags.String("data", "", "an empty directory for etcd")
	for _, set := range server.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(arguments); err != nil {
		return err
	}

	store, err := startEtcd(*data)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer store.Close()
	server.Etcd.StorageConfig.Transport.ServerList = []string{"http://" + store.Clients[0].Addr().String()}

	// Bound here and not by number, so that nobody else can take the port in between.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().(*net.TCPAddr)
	server.SecureServing.Listener = listener
	server.SecureServing.BindAddress = address.IP
	server.SecureServing.BindPort = address.Port

	if err := server.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	completed, err := server.Complete(ctx)
	if err != nil {
		return err
	}
	if faults := completed.Validate(); len(faults) > 0 {
		return errors.Join(faults...)
	}
	fmt.Printf("https://%s\n", address)
	return app.Run(ctx, completed)
}

// startEtcd starts a store of one member that forgets: what is in it is not even synced to disk.
func startEtcd(folder string) (*embed.Etcd, error) {
	config := embed.NewConfig()
	config.Dir = folder
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config.ListenClientUrls, config.AdvertiseClientUrls = anyPort, anyPort
	config.ListenPeerUrls, config.AdvertisePeerUrls = anyPort, anyPort
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	store, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-store.Server.ReadyNotify():
		return store, nil
	case err := <-store.Err():
		return nil, err
	case <-time.After(etcdPatience):
		store.Close()
		return nil, errors.New("was not ready in time")
	}
}
