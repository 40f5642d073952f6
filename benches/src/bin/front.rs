//! Ends TLS in front of a server that has none.
//!
//! ```text
//! front ADDRESS CERTIFICATE      passes everything on to ADDRESS; writes what to trust to CERTIFICATE
//! ```
//!
//! It says `{"host":"localhost:PORT"}` when it is ready. TLS is that of the client: HTTP/2 is offered,
//! and the key is made for this run.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::process::ExitCode;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use vecload_benches::Failure;

/// What is passed on at a time.
const BUFFER: usize = 256 << 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [address, certificate] => serve(address, certificate),
        _ => Err("usage: front ADDRESS CERTIFICATE".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(address: &str, certificate: &str) -> Result<(), Failure> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(certificate, cert.pem())?;
    let key = PrivateKeyDer::try_from(signing_key.serialize_der())?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    println!(
        "{}",
        serde_json::json!({"host": format!("localhost:{port}")})
    );
    loop {
        let (outside, _) = listener.accept().await?;
        let (acceptor, address) = (acceptor.clone(), address.to_owned());
        tokio::spawn(async move {
            let passed = async {
                let mut outside = acceptor.accept(outside).await?;
                let mut inside = TcpStream::connect(address).await?;
                inside.set_nodelay(true)?;
                copy_bidirectional_with_sizes(&mut outside, &mut inside, BUFFER, BUFFER).await
            };
            // A client that leaves in the middle is nothing to end for.
            if let Err(error) = passed.await {
                eprintln!("front: {error}");
            }
        });
    }
}
