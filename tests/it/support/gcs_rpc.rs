//! The gRPC half of the double of Google Cloud Storage: `google.storage.v2` over plain HTTP/2,
//! with the few messages and fields that matter here.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};

use super::gcs::{GcsCall, GcsFault, GcsObject, World};

#[derive(Message)]
struct Named {
    #[prost(string, tag = "1")]
    bucket: String,
    #[prost(string, tag = "2")]
    object: String,
}

#[derive(Message)]
struct DeleteRequest {
    #[prost(string, tag = "1")]
    bucket: String,
    #[prost(string, tag = "2")]
    object: String,
    #[prost(int64, optional, tag = "5")]
    if_generation_match: Option<i64>,
}

#[derive(Message)]
struct ListRequest {
    #[prost(string, tag = "1")]
    parent: String,
    #[prost(int32, tag = "2")]
    page_size: i32,
    #[prost(string, tag = "3")]
    page_token: String,
    #[prost(string, tag = "4")]
    delimiter: String,
    #[prost(string, tag = "6")]
    prefix: String,
}

#[derive(Message)]
struct ListResponse {
    #[prost(message, repeated, tag = "1")]
    objects: Vec<Object>,
    #[prost(string, repeated, tag = "2")]
    prefixes: Vec<String>,
    #[prost(string, tag = "3")]
    next_page_token: String,
}

#[derive(Message)]
struct Object {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    bucket: String,
    #[prost(int64, tag = "3")]
    generation: i64,
    #[prost(string, tag = "5")]
    storage_class: String,
    #[prost(int64, tag = "6")]
    size: i64,
    #[prost(message, optional, tag = "14")]
    create_time: Option<Time>,
    #[prost(message, optional, tag = "16")]
    checksums: Option<Checksums>,
    #[prost(map = "string, string", tag = "22")]
    metadata: HashMap<String, String>,
}

#[derive(Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

#[derive(Message)]
struct Checksums {
    #[prost(fixed32, optional, tag = "1")]
    crc32c: Option<u32>,
}

/// A gRPC code and its message.
type Refusal = (u8, String);

const INVALID_ARGUMENT: u8 = 3;
const NOT_FOUND: u8 = 5;
const FAILED_PRECONDITION: u8 = 9;
const UNAUTHENTICATED: u8 = 16;

/// Serves on a port of its own until the test's process ends.
pub(super) fn start(world: Arc<Mutex<World>>) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be bound");
    let port = listener.local_addr().expect("it has an address").port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            listener.set_nonblocking(true).expect("a socket");
            let listener = TcpListener::from_std(listener).expect("a socket");
            while let Ok((client, _)) = listener.accept().await {
                let world = world.clone();
                tokio::spawn(async move { connection(client, world).await });
            }
        });
    });
    port
}

async fn connection(client: TcpStream, world: Arc<Mutex<World>>) -> Option<()> {
    let mut connection = h2::server::handshake(client).await.ok()?;
    // One after the other, so that a fault can end the connection.
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (body, respond) = {
            let gathered = gather(request, respond);
            tokio::pin!(gathered);
            tokio::select! {
                gathered = &mut gathered => gathered?,
                // The connection moves only while it is polled.
                _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => return None,
            }
        };
        answer(&world, &body, respond).await?;
    }
    Some(())
}

struct Asked {
    path: String,
    authorization: String,
    message: Bytes,
}

async fn gather(
    request: Request<h2::RecvStream>,
    respond: SendResponse<Bytes>,
) -> Option<(Asked, SendResponse<Bytes>)> {
    let (head, mut body) = request.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        let _ = body.flow_control().release_capacity(piece.len());
        bytes.extend_from_slice(&piece);
    }
    let authorization = head.headers.get("authorization");
    let asked = Asked {
        path: head.uri.path().to_owned(),
        authorization: authorization
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        message: bytes.freeze().slice(5..),
    };
    Some((asked, respond))
}

/// Answers a call; `None` ends the connection.
async fn answer(
    world: &Mutex<World>,
    asked: &Asked,
    mut respond: SendResponse<Bytes>,
) -> Option<()> {
    let call = match &*asked.path {
        "/google.storage.v2.Storage/ListObjects" => GcsCall::List,
        "/google.storage.v2.Storage/GetObject" => GcsCall::Look,
        "/google.storage.v2.Storage/DeleteObject" => GcsCall::Delete,
        other => panic!("{other} is not doubled"),
    };
    let fault = world.lock().unwrap().meet(call, String::new());
    if let Some(GcsFault::Stall(time)) = fault {
        tokio::time::sleep(time).await;
        return None;
    }
    let done = {
        let mut world = world.lock().unwrap();
        match fault {
            Some(GcsFault::Cut(_)) => return None,
            Some(GcsFault::Status(status, why)) => Err((code_of(status), why.to_owned())),
            _ if !world.is_welcome(&asked.authorization) => {
                Err((UNAUTHENTICATED, "Invalid Credentials".to_owned()))
            }
            Some(GcsFault::Garbage) => Ok(b"\xff\xff\xff\xffgarbage".to_vec()),
            Some(GcsFault::Lose) => {
                let _ = handle(&mut world, call, asked, false);
                return None;
            }
            Some(GcsFault::Again) => handle(&mut world, call, asked, true),
            _ => handle(&mut world, call, asked, false),
        }
    };
    let response = Response::builder().header("content-type", "application/grpc");
    let response = response.body(()).expect("a response");
    let mut trailers = HeaderMap::new();
    let mut stream = respond.send_response(response, false).ok()?;
    match done {
        Ok(message) => {
            let mut frame = BytesMut::new();
            frame.put_u8(0);
            frame.put_u32(u32::try_from(message.len()).expect("a small message"));
            frame.extend_from_slice(&message);
            stream.send_data(frame.freeze(), false).ok()?;
            trailers.insert("grpc-status", 0.into());
        }
        Err((code, why)) => {
            trailers.insert("grpc-status", u16::from(code).into());
            trailers.insert("grpc-message", why.parse().expect("plain words"));
        }
    }
    stream.send_trailers(trailers).ok()
}

fn code_of(status: u16) -> u8 {
    match status {
        400 => INVALID_ARGUMENT,
        401 => UNAUTHENTICATED,
        403 => 7,
        404 => NOT_FOUND,
        412 => FAILED_PRECONDITION,
        429 => 8,
        503 => 14,
        504 => 4,
        _ => 13,
    }
}

fn handle(
    world: &mut World,
    call: GcsCall,
    asked: &Asked,
    again: bool,
) -> Result<Vec<u8>, Refusal> {
    match call {
        GcsCall::List => list(world, &asked.message, again),
        GcsCall::Look => {
            let named = Named::decode(asked.message.clone()).expect("a request");
            let bucket = bucket(world, &named.bucket)?;
            let found = world.buckets[&bucket].get(&named.object);
            let found = found.ok_or_else(|| no_object(&bucket, &named.object))?;
            Ok(object(&bucket, &named.object, found).encode_to_vec())
        }
        _ => {
            let named = DeleteRequest::decode(asked.message.clone()).expect("a request");
            let bucket = bucket(world, &named.bucket)?;
            let objects = world.buckets.get_mut(&bucket).expect("it was looked up");
            let found = objects.get(&named.object);
            let found = found.ok_or_else(|| no_object(&bucket, &named.object))?;
            if named
                .if_generation_match
                .is_some_and(|wanted| wanted != found.generation)
            {
                return Err((FAILED_PRECONDITION, "another generation".into()));
            }
            objects.remove(&named.object);
            Ok(Vec::new())
        }
    }
}

fn bucket(world: &World, resource: &str) -> Result<String, Refusal> {
    let name = resource
        .strip_prefix("projects/_/buckets/")
        .expect("a bucket's full name");
    if world.buckets.contains_key(name) {
        return Ok(name.to_owned());
    }
    Err((NOT_FOUND, "The specified bucket does not exist.".into()))
}

fn no_object(bucket: &str, name: &str) -> Refusal {
    let name = if name.is_ascii() { name } else { "?" };
    (NOT_FOUND, format!("No such object: {bucket}/{name}"))
}

fn object(bucket: &str, name: &str, found: &GcsObject) -> Object {
    let created = found.created.duration_since(UNIX_EPOCH).expect("a time");
    Object {
        name: name.to_owned(),
        bucket: format!("projects/_/buckets/{bucket}"),
        generation: found.generation,
        storage_class: found.class.clone(),
        size: i64::try_from(found.bytes.len()).expect("a size"),
        create_time: Some(Time {
            seconds: created.as_secs().cast_signed(),
        }),
        checksums: Some(Checksums {
            crc32c: Some(found.crc()),
        }),
        metadata: found.metadata.clone(),
    }
}

fn list(world: &World, message: &Bytes, again: bool) -> Result<Vec<u8>, Refusal> {
    let asked = ListRequest::decode(message.clone()).expect("a request");
    let bucket = bucket(world, &asked.parent)?;
    let mut response = ListResponse::default();
    let mut folders = BTreeSet::new();
    let mut count = 0;
    let mut last = String::new();
    let objects = &world.buckets[&bucket];
    let below = objects.range(asked.prefix.clone()..);
    for (name, found) in below.take_while(|(name, _)| name.starts_with(&asked.prefix)) {
        let rest = &name[asked.prefix.len()..];
        let folder = rest
            .find(&asked.delimiter)
            .filter(|_| !asked.delimiter.is_empty())
            .map(|end| format!("{}{}", asked.prefix, &rest[..=end]));
        let place = folder.as_ref().unwrap_or(name);
        // A token is the last place of the page before it.
        if *place <= asked.page_token || folders.contains(place) {
            continue;
        }
        if count == world.page {
            response.next_page_token = last;
            break;
        }
        count += 1;
        last.clone_from(place);
        match folder {
            Some(folder) => {
                folders.insert(folder);
            }
            None => response.objects.push(object(&bucket, name, found)),
        }
    }
    if again {
        response.next_page_token = asked.page_token;
    }
    response.prefixes = folders.into_iter().collect();
    Ok(response.encode_to_vec())
}
