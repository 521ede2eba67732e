//! A server of hyper alone, which serves every request that hyper can read: what the reader of this project is held against.
//!
//! `e2e/edge/smuggling.test.mjs` sends both the same bytes. It prints its address and ends with its process.
//!
//! ```sh
//! cargo run -p omnivox-server --example hyper
//! ```

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the address is what is asked for")]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), hyper::service::service_fn(serve));
        // What it could not read it has told the client.
        tokio::spawn(async move { drop(connection.await) });
    }
}

/// Reads the body to its end, and says what came.
async fn serve(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}\n", request.method(), request.uri());
    Ok(match request.into_body().collect().await {
        Ok(body) => Response::new(Full::new(Bytes::from([line.as_bytes(), &body.to_bytes()].concat()))),
        Err(_) => {
            let mut refused = Response::new(Full::new(Bytes::from_static(b"the body can't be read\n")));
            *refused.status_mut() = StatusCode::BAD_REQUEST;
            refused
        }
    })
}
