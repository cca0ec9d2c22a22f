//! Compiles the protobuf files in Rust: no protoc on the building machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["drydock/agent/v1/agent.proto", "drydock/operator/v1/operator.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().build_transport(true).compile_fds(descriptors)?;
    Ok(())
}
