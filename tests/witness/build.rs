//! Compiles the small etcd proto with protox: no system protoc is needed.

fn main() -> anyhow::Result<()> {
    let proto = "proto/etcd.proto";
    println!("cargo::rerun-if-changed={proto}");
    let descriptors = protox::compile([proto], ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
