//! omnivox inside an axum program: its routes beside ours, its login before ours, one port with TLS and HTTP/2, publishing from a handler.
//!
//! ```text
//! cargo run -p omnivox-server --example axum                                    # prints its address
//! curl -N -H 'cookie: session=ana' 'http://127.0.0.1:3000/live/v1/sse?channel=orders'
//! curl -H 'cookie: session=ana' http://127.0.0.1:3000/orders -d '{"item":"tea"}'    # the other one sees the order
//!
//! cargo run -p omnivox-server --example axum -- 3443 cert.pem key.pem           # the same over TLS
//! ```
//!
//! [`shop`] is the program; here it only begins and ends.

mod shop;

use std::error::Error;
use std::path::Path;

use shop::Shop;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = arguments.first().map_or(Ok(3000), |port| port.parse::<u16>())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    let shop = Shop::open()?;
    let end = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    match arguments.get(1..3) {
        Some([certificate, key]) => {
            println!("listening on https://{address}");
            shop.serve_tls(listener, shop::tls(Path::new(certificate), Path::new(key))?, end).await?;
        }
        _ => {
            println!("listening on http://{address}");
            shop.serve(listener, end).await?;
        }
    }
    Ok(())
}
