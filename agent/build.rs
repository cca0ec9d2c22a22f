//! Compiles our subset of etcd's API in Rust: no protoc on the building machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/etcd/rpc.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        // Members that the unit tests play.
        .server_mod_attribute(".", "#[cfg(test)]")
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
