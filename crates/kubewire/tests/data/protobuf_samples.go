// Writes protobuf.jsonl's kind of lines: random objects of Kubernetes' built-in kinds, as Kubernetes' own libraries encode them
// in protobuf (base64) and in JSON. Of its output the shortest object of each kind with more than 250 bytes was kept.
//
//	go mod init samples && go get k8s.io/api@v0.34.3 k8s.io/apimachinery@v0.34.3 && go run protobuf_samples.go
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"reflect"
	"strings"
	"time"

	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	events "k8s.io/api/events/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var random = rand.New(rand.NewSource(1))

// fill sets about half of what can be set.
func fill(value reflect.Value, depth int) {
	second := time.Unix(int64(random.Intn(1<<30)), 0).UTC()
	switch value.Interface().(type) {
	case meta.TypeMeta:
		return
	case meta.Time:
		value.Set(reflect.ValueOf(meta.NewTime(second)))
		return
	case meta.MicroTime:
		value.Set(reflect.ValueOf(meta.NewMicroTime(second.Add(time.Duration(random.Intn(1000000)) * time.Microsecond))))
		return
	case resource.Quantity:
		value.Set(reflect.ValueOf(*resource.NewMilliQuantity(int64(random.Intn(100000)+1), resource.DecimalSI)))
		return
	case intstr.IntOrString:
		choices := []intstr.IntOrString{intstr.FromInt32(int32(random.Intn(100))), intstr.FromString("p")}
		value.Set(reflect.ValueOf(choices[random.Intn(2)]))
		return
	case meta.FieldsV1:
		value.Set(reflect.ValueOf(meta.FieldsV1{Raw: []byte(`{"f:a":{}}`)}))
		return
	case runtime.RawExtension:
		value.Set(reflect.ValueOf(runtime.RawExtension{Raw: []byte(`{"a":1}`)}))
		return
	}
	if depth == 0 {
		return
	}
	count := random.Intn(3)
	switch value.Kind() {
	case reflect.Ptr:
		if count > 0 {
			value.Set(reflect.New(value.Type().Elem()))
			fill(value.Elem(), depth-1)
		}
	case reflect.Struct:
		for i := 0; i < value.NumField(); i++ {
			fill(value.Field(i), depth-1)
		}
	case reflect.Slice:
		if value.Type().Elem().Kind() == reflect.Uint8 {
			value.SetBytes([]byte{0, 255, byte(count)})
		} else if count > 0 {
			value.Set(reflect.MakeSlice(value.Type(), count, count))
			for i := 0; i < count; i++ {
				fill(value.Index(i), depth-1)
			}
		}
	case reflect.Map:
		if count > 0 {
			value.Set(reflect.MakeMap(value.Type()))
		}
		for i := 0; i < count; i++ {
			key, element := reflect.New(value.Type().Key()).Elem(), reflect.New(value.Type().Elem()).Elem()
			key.SetString(fmt.Sprintf("k%d", i))
			fill(element, depth-1)
			value.SetMapIndex(key, element)
		}
	case reflect.String:
		if count > 0 {
			value.SetString(fmt.Sprintf("s%d", random.Intn(100)))
		}
	case reflect.Bool:
		value.SetBool(count > 0)
	case reflect.Int32, reflect.Int64:
		value.SetInt(int64(random.Intn(200) - 100))
	}
}

func main() {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apps.AddToScheme, authentication.AddToScheme, authorization.AddToScheme, autoscaling.AddToScheme, batch.AddToScheme,
		coordination.AddToScheme, core.AddToScheme, discovery.AddToScheme, events.AddToScheme, networking.AddToScheme,
		policy.AddToScheme, rbac.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	encoder := protobuf.NewSerializer(scheme, scheme)
	out := json.NewEncoder(os.Stdout)
	for kind := range scheme.AllKnownTypes() {
		if kind.Version == "__internal" || strings.HasSuffix(kind.Kind, "List") {
			continue
		}
		for i := 0; i < 20; i++ {
			object, err := scheme.New(kind)
			if err != nil {
				panic(err)
			}
			if _, named := object.(meta.Object); !named && kind.Kind != "DeleteOptions" {
				break
			}
			fill(reflect.ValueOf(object).Elem(), 12)
			object.GetObjectKind().SetGroupVersionKind(kind)
			encoded, err := runtime.Encode(encoder, object)
			if err != nil {
				panic(err)
			}
			out.Encode(map[string]any{"protobuf": base64.StdEncoding.EncodeToString(encoded), "json": object})
		}
	}
}
