//! Compressed bodies of answers, whole ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

/// The body as gzip, when that is smaller.
pub fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
    smaller(body, encoder.write_all(body).and_then(|()| encoder.finish()))
}

/// The body as zlib, which is what HTTP calls `deflate`, when that is smaller.
pub fn deflate(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
    smaller(body, encoder.write_all(body).and_then(|()| encoder.finish()))
}

fn smaller(body: &[u8], compressed: std::io::Result<Vec<u8>>) -> Option<Vec<u8>> {
    compressed.ok().filter(|compressed| compressed.len() < body.len())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::{GzDecoder, ZlibDecoder};

    use super::*;

    #[test]
    fn bodies_come_out_again_or_stay_as_they_are() {
        let text = "to and fro, ".repeat(100).into_bytes();
        let mut out = Vec::new();
        GzDecoder::new(&*gzip(&text).unwrap()).read_to_end(&mut out).unwrap();
        ZlibDecoder::new(&*deflate(&text).unwrap()).read_to_end(&mut out).unwrap();
        assert_eq!(out, [text.clone(), text].concat());
        assert_eq!((gzip(b"short"), deflate(b"short"), gzip(b"")), (None, None, None));
    }
}
