//! Route maps say which code serves which route, in whatever format they come.

use std::io::Cursor;

use faultline_adapters::adapter::{Emit, ReadError, Report, RouteSeen, ScanFacts};
use faultline_adapters::{registry, secret::SecretKey};
use faultline_model::observation::Observation;

#[derive(Default)]
struct Map {
    routes: Vec<RouteSeen>,
    refused: Vec<String>,
}

impl Emit for Map {
    fn scan(&mut self, _: ScanFacts) {}
    fn finding(&mut self, _: Observation) -> Result<(), ReadError> {
        panic!("a route map holds no findings")
    }
    fn route(&mut self, seen: RouteSeen) -> Result<(), ReadError> {
        self.routes.push(seen);
        Ok(())
    }
    fn refused(&mut self, place: String, _: String) {
        self.refused.push(place);
    }
}

/// Reads a map with the adapter that its content chooses; routes and refusals come in one order.
fn read(bytes: &[u8]) -> Result<(&'static str, Map), ReadError> {
    let (mut input, key) = (Cursor::new(bytes), SecretKey::from_passphrase("samples"));
    let mut report = Report::new(&mut input, &key);
    let (adapter, mut map) = (registry::detect(&mut report)?, Map::default());
    registry::read(adapter, &mut report, &mut map)?;
    map.routes.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
    map.refused.sort();
    Ok((adapter.name, map))
}

fn route(method: &str, path: &str, file: &str, symbol: &str, line: i32, parameters: &[&str]) -> RouteSeen {
    let parameters = parameters.iter().map(|&name| name.to_owned()).collect();
    RouteSeen {
        method: method.into(),
        path: path.into(),
        file: file.into(),
        symbol: symbol.into(),
        line,
        parameters,
        ..RouteSeen::default()
    }
}

#[test]
fn openapi_gives_the_same_routes_in_json_and_yaml() {
    let json = read(include_bytes!("samples/routes/shop.openapi.json")).expect("JSON is read");
    let yaml = read(include_bytes!("samples/routes/shop.openapi.yaml")).expect("YAML is read");
    assert_eq!((json.0, yaml.0), ("openapi", "openapi"));
    let mut map = json.1;
    assert_eq!(map.refused, ["paths, /broken, get", "paths, /broken, post, parameter 0", "paths, no-slash"]);
    assert_eq!(map.refused, yaml.1.refused);
    // Members of a body come in the order of the document or of their names, as the reader of the format keeps them.
    let mut others = yaml.1.routes;
    map.routes.iter_mut().chain(&mut others).for_each(|route| route.parameters.sort());
    assert_eq!(map.routes, others);
    assert_eq!(
        map.routes,
        [
            route("POST", "/api/v1/broken", "", "", 0, &[]),
            route("GET", "/api/v1/orders/{id}", "src/orders.rs", "showOrder", 12, &["X-Trace", "expand", "id", "session"]),
            route(
                "PUT",
                "/api/v1/orders/{id}",
                "src/orders/change.rs",
                "orders::change",
                0,
                &["X-Trace", "address", "amount", "id", "note"]
            ),
            route("POST", "/legacy/search", "", "", 0, &["page", "q"]),
        ]
    );
}

#[test]
fn a_plain_route_list_gives_one_route_a_method() {
    let (adapter, map) = read(include_bytes!("samples/routes/shop.routes.json")).expect("the list is read");
    assert_eq!((adapter, map.refused), ("routes", vec!["route 2".to_owned()]));
    assert_eq!(
        map.routes,
        [
            route("", "/health", "", "", 0, &[]),
            route("GET", "/orders/{id}", "src/orders.rs", "orders::any", 12, &["id"]),
            route("PUT", "/orders/{id}", "src/orders.rs", "orders::any", 12, &["id"]),
        ]
    );
}

#[test]
fn a_document_that_is_too_large_or_no_openapi_3_says_so() {
    let error = |bytes: &[u8]| read(bytes).err().expect("it is refused").to_string();
    let mut large = b"openapi: 3.0.0\npaths: {}\n#".to_vec();
    large.resize(8 * 1024 * 1024 + 1, b'x');
    assert!(error(&large).contains("larger than 8 MiB"));
    large.pop();
    assert!(read(&large).is_ok());
    assert!(error(b"openapi: 2.0.0\n").contains("only OpenAPI 3"));
    assert!(error(b"{\"openapi\": \"3.0.0\", \"paths\": ").contains("line 1"));
    assert!(error(b"openapi: 3.0.0\npaths: [").contains("openapi report"));
}

#[test]
fn a_document_that_grows_without_end_is_refused_or_cut() {
    // Aliases of aliases: nine to the power of nine entries out of a few lines.
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let inner = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    bomb.push_str("openapi: 3.0.0\npaths: {}\n");
    assert!(matches!(read(bomb.as_bytes()), Err(ReadError::Shape { .. })));

    // More members than are kept, more schemas than are looked into, and schemas that are composed of each other.
    let members = (0..300).map(|n| format!("\"p{n:03}\": {{}}")).collect::<Vec<_>>().join(", ");
    let schemas = ["{}"; 300].join(", ");
    let document = format!(
        r##"{{"openapi": "3.1.0", "s": {{"properties": {{{members}}}, "allOf": [{{"$ref": "#/s"}}, {schemas}]}}, "paths": {{"/a": {{"put":
        {{"requestBody": {{"content": {{"application/json": {{"schema": {{"$ref": "#/s"}}}}}}}}}}}}}}}}"##
    );
    let (_, map) = read(document.as_bytes()).expect("the rest is read");
    assert_eq!(map.routes[0].parameters.len(), 256);
    assert_eq!(map.refused, ["paths, /a, put", "paths, /a, put, requestBody, application/json"]);
}
