// Package main is a small HTTP server for tests: it answers with the name of its pod.
//
// hello             serves on port 8080
// hello resolve N   prints the addresses of a name
// hello get URL     prints what a URL answers
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if len(arguments) == 0 {
		return serve(ctx)
	}
	ctx, cancel = context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	switch {
	case len(arguments) == 2 && arguments[0] == "resolve":
		addresses, err := net.DefaultResolver.LookupHost(ctx, arguments[1])
		fmt.Println(strings.Join(addresses, " "))
		return err
	case len(arguments) == 2 && arguments[0] == "get":
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, arguments[1], nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, err = io.Copy(os.Stdout, response.Body)
		return err
	}
	return errors.New("usage: hello [resolve NAME | get URL]")
}

func serve(ctx context.Context) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	server := http.Server{Addr: ":8080", ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s\n", name)
	})}
	go func() {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(drain)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
