use serde_json::{Map, Value};

/// How deep `$ref`, `anyOf` and their like may nest at one place; a schema that refers to itself
/// without going down a level would never end otherwise.
const MAX_NESTING: usize = 32;

/// Keywords that only mean something for an object.
const OF_OBJECTS: [&str; 4] = [
    "properties",
    "required",
    "propertyNames",
    "additionalProperties",
];

/// What a value can be, as far as the schema tells values apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// A place in the settings: the forms that the schema allows there, with references followed,
/// alternatives spread out and null left out (a null is an absent key).
#[derive(Debug, Clone)]
pub(super) struct Slot<'s> {
    root: &'s Value,
    pub(super) forms: Vec<Form>,
}

/// One form that a value can have: a schema without alternatives.
#[derive(Debug, Clone)]
pub(super) struct Form(Map<String, Value>);

impl<'s> Slot<'s> {
    /// The whole document.
    pub(super) fn root(schema: &'s Value) -> Self {
        Self::of(schema, schema)
    }

    fn of(root: &'s Value, schema: &Value) -> Self {
        Self::within(root, schema, &Map::new())
    }

    fn within(root: &'s Value, schema: &Value, base: &Map<String, Value>) -> Self {
        let mut forms = Vec::new();
        expand(root, schema, base, 0, &mut forms);
        Self {
            root,
            forms: forms
                .into_iter()
                .map(Form)
                .filter(|form| !form.is_null())
                .collect(),
        }
    }

    /// Whether a secret belongs here: a string, `{ env: NAME }` or `{ file: PATH }`.
    pub(super) fn is_secret(&self) -> bool {
        self.forms
            .iter()
            .any(|form| form.format() == Some("secret"))
    }

    /// Whether some form takes a value of this kind.
    pub(super) fn allows(&self, kind: Kind) -> bool {
        self.forms.iter().any(|form| form.allows(kind))
    }

    /// Whether the schema leaves the value here open.
    pub(super) fn is_open(&self) -> bool {
        self.forms.iter().any(Form::is_open)
    }

    /// Whether the schema names this key, rather than leaving names to the user.
    pub(super) fn has_property(&self, key: &str) -> bool {
        self.objects().any(|form| form.property(key).is_some()) || self.is_secret_part(key)
    }

    /// Whether users may make up names of keys here.
    pub(super) fn takes_names(&self) -> bool {
        !self.is_secret()
            && self
                .objects()
                .any(|form| form.additional() != Some(&Value::Bool(false)))
    }

    /// The keys that the schema names.
    pub(super) fn keys(&self) -> Vec<&str> {
        if self.is_secret() {
            return vec!["env", "file"];
        }
        let mut keys: Vec<_> = self.objects().flat_map(Form::keys).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The place below a key, or nothing if the schema knows no such key.
    pub(super) fn child(&self, key: &str) -> Option<Self> {
        if self.is_secret_part(key) {
            return Some(Self::of(
                self.root,
                &serde_json::json!({ "type": "string" }),
            ));
        }
        let mut forms = Vec::new();
        for form in self.objects() {
            let schema = form.property(key).or_else(|| match form.additional() {
                Some(Value::Bool(false)) => None,
                Some(schema) => Some(schema),
                None => Some(&Value::Bool(true)),
            });
            forms.extend(
                schema
                    .map(|schema| Self::of(self.root, schema).forms)
                    .unwrap_or_default(),
            );
        }
        (!forms.is_empty()).then_some(Self {
            root: self.root,
            forms,
        })
    }

    fn is_secret_part(&self, key: &str) -> bool {
        self.is_secret() && matches!(key, "env" | "file")
    }

    /// The place of an item of a list.
    pub(super) fn item(&self) -> Self {
        let items = self.forms.iter().filter(|form| form.allows(Kind::Array));
        let forms = items.flat_map(|form| match form.get("items") {
            Some(schema) => Self::of(self.root, schema).forms,
            None => vec![Form(Map::new())],
        });
        Self {
            root: self.root,
            forms: forms.collect(),
        }
    }

    /// What the schema says of the names that users make up here.
    pub(super) fn name(&self) -> Option<Self> {
        let schema = self.objects().find_map(|form| form.get("propertyNames"))?;
        Some(Self::within(self.root, schema, &string()))
    }

    /// The key that tells the object forms apart: it has another fixed value in each, such as
    /// `type` in `type: sqlite`.
    pub(super) fn tag(&self) -> Option<&str> {
        let first = self.objects().next()?;
        first
            .keys()
            .find(|key| self.objects().all(|form| form.constant(key).is_some()))
    }

    /// The values that the tag can have.
    pub(super) fn tags(&self, tag: &str) -> Vec<&str> {
        self.objects()
            .filter_map(|form| form.constant(tag))
            .collect()
    }

    /// This place with only the object forms that the value of the tag selects; all of them where
    /// it is missing or unknown. `lookup` gives the string at a key of the object.
    pub(super) fn narrow<'v>(&self, lookup: impl FnOnce(&str) -> Option<&'v str>) -> Self {
        let mut narrowed = self.clone();
        if let Some(tag) = self.tag()
            && let Some(value) = lookup(tag)
            && self.tags(tag).contains(&value)
        {
            narrowed
                .forms
                .retain(|form| !form.is_object() || form.constant(tag) == Some(value));
        }
        narrowed
    }

    /// [`Self::narrow`] by the keys of an object.
    pub(super) fn narrowed(&self, map: &Map<String, Value>) -> Self {
        self.narrow(|tag| map.get(tag).and_then(Value::as_str))
    }

    fn objects(&self) -> impl Iterator<Item = &Form> {
        self.forms.iter().filter(|form| form.is_object())
    }

    /// This place with a single one of its forms.
    pub(super) fn only(&self, form: &Form) -> Self {
        Self {
            root: self.root,
            forms: vec![form.clone()],
        }
    }
}

impl Form {
    pub(super) fn get(&self, keyword: &str) -> Option<&Value> {
        self.0.get(keyword)
    }

    pub(super) fn format(&self) -> Option<&str> {
        self.get("format").and_then(Value::as_str)
    }

    pub(super) fn allows(&self, kind: Kind) -> bool {
        if self.format() == Some("secret") {
            return matches!(kind, Kind::String | Kind::Object);
        }
        match self.get("type") {
            Some(Value::String(name)) => kind.is_named(name),
            Some(Value::Array(names)) => names
                .iter()
                .filter_map(Value::as_str)
                .any(|name| kind.is_named(name)),
            _ => match self.choices() {
                Some(choices) => choices.iter().any(|choice| kind.is_of(choice)),
                None if self.has(&["items"]) => kind == Kind::Array,
                None if self.has(&OF_OBJECTS) => kind == Kind::Object,
                None => true,
            },
        }
    }

    /// Whether the schema says nothing that a value could contradict.
    pub(super) fn is_open(&self) -> bool {
        !self.has(&["type", "const", "enum", "format", "pattern", "items"])
            && !self.has(&OF_OBJECTS)
    }

    fn has(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.0.contains_key(*keyword))
    }

    /// The values to choose from, where these are given.
    pub(super) fn choices(&self) -> Option<Vec<&Value>> {
        match (self.get("const"), self.get("enum")) {
            (Some(value), _) => Some(vec![value]),
            (None, Some(Value::Array(values))) => Some(values.iter().collect()),
            _ => None,
        }
    }

    pub(super) fn required(&self) -> impl Iterator<Item = &str> {
        self.get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }

    /// The schema of keys that are not named: `false` if there may be none, nothing if anything
    /// goes. An object that names keys is closed unless it says otherwise.
    fn additional(&self) -> Option<&Value> {
        match self.get("additionalProperties") {
            None if self.get("properties").is_some() => Some(&Value::Bool(false)),
            schema => schema,
        }
    }

    fn properties(&self) -> Option<&Map<String, Value>> {
        self.get("properties").and_then(Value::as_object)
    }

    fn property(&self, key: &str) -> Option<&Value> {
        self.properties()?.get(key)
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.properties()
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str)
    }

    fn constant(&self, key: &str) -> Option<&str> {
        self.property(key)?.get("const")?.as_str()
    }

    fn is_object(&self) -> bool {
        self.allows(Kind::Object)
    }

    fn is_null(&self) -> bool {
        match (self.get("type"), self.choices()) {
            (Some(Value::String(name)), _) => name == "null",
            (None, Some(choices)) => choices.iter().all(|choice| choice.is_null()),
            _ => false,
        }
    }
}

impl Kind {
    fn is_named(self, name: &str) -> bool {
        match self {
            Self::Boolean => name == "boolean",
            Self::Integer => matches!(name, "integer" | "number"),
            Self::Number => name == "number",
            Self::String => name == "string",
            Self::Array => name == "array",
            Self::Object => name == "object",
        }
    }

    fn is_of(self, value: &Value) -> bool {
        Self::of(value) == Some(self)
    }

    /// The kind of a value; null has none.
    pub(super) fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_f64() => Self::Number,
            Value::Number(_) => Self::Integer,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        })
    }
}

fn string() -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), "string".into())])
}

/// Adds to `forms` what `schema` allows on top of `base`.
fn expand(
    root: &Value,
    schema: &Value,
    base: &Map<String, Value>,
    nesting: usize,
    forms: &mut Vec<Map<String, Value>>,
) {
    let node = match schema {
        Value::Object(node) => node,
        Value::Bool(false) => return,
        _ => return forms.push(base.clone()),
    };
    let merged = merge(base, node);
    // A secret is one form to us, though its schema spells out three for editors.
    if nesting > MAX_NESTING || node.get("format").is_some_and(|format| format == "secret") {
        return forms.push(merged);
    }
    let mut alternatives = vec![merged];
    let mut branch = |schemas: &[&Value]| {
        let mut next = Vec::new();
        for base in &alternatives {
            for schema in schemas {
                expand(root, schema, base, nesting + 1, &mut next);
            }
        }
        alternatives = next;
    };
    let target = node
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|at| at.strip_prefix('#'));
    if let Some(target) = target.and_then(|pointer| root.pointer(pointer)) {
        branch(&[target]);
    }
    for part in node
        .get("allOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        branch(&[part]);
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(Value::Array(schemas)) = node.get(keyword) {
            branch(&schemas.iter().collect::<Vec<_>>());
        }
    }
    forms.append(&mut alternatives);
}

/// One schema on top of another. Keys that both name objects with are taken together, as a struct
/// with a flattened enum has its keys in both.
fn merge(base: &Map<String, Value>, node: &Map<String, Value>) -> Map<String, Value> {
    const STRUCTURE: [&str; 10] = [
        "$ref",
        "$defs",
        "$schema",
        "allOf",
        "anyOf",
        "oneOf",
        "title",
        "description",
        "default",
        "examples",
    ];
    let mut merged = base.clone();
    for (keyword, value) in node {
        match (merged.get_mut(keyword), value) {
            _ if STRUCTURE.contains(&keyword.as_str()) => {}
            (Some(Value::Object(known)), Value::Object(more)) if keyword == "properties" => {
                known.extend(
                    more.iter()
                        .map(|(key, schema)| (key.clone(), schema.clone())),
                );
            }
            (Some(Value::Array(known)), Value::Array(more)) if keyword == "required" => {
                known.extend(more.iter().cloned());
            }
            // Where one part takes names of the user's, the whole does.
            (Some(_), Value::Bool(false)) if keyword == "additionalProperties" => {}
            _ => {
                merged.insert(keyword.clone(), value.clone());
            }
        }
    }
    merged
}

/// The names of all tags in a schema. See [`Slot::tag`].
pub(super) fn tag_names<'s>(schema: &'s Value, names: &mut Vec<&'s str>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                if value.get("const").is_some() {
                    names.push(key);
                }
                tag_names(value, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| tag_names(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
