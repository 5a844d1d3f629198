//! Reading `#[event(…)]`: four settings, each given at most once, and everything else refused with what to write.
//!
//! Nothing here looks at the type's fields but to find `#[event(…)]` where it does not belong. Faults are collected,
//! not returned one by one: who has made three mistakes is told of three.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Expr, ExprLit, Fields, Lit, LitInt, LitStr, Meta};

use crate::name;

const EXAMPLE: &str = "#[event(name = \"order.placed\", version = 1, key = \"order_id\")]";

/// What a type says about itself.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<u16>,
    pub(crate) key: Option<LitStr>,
    pub(crate) codec: Option<LitStr>,
}

/// The codecs that can be named.
const CODECS: &[&str] = &["json", "pod", "postcard"];

/// The faults found so far.
#[derive(Default)]
pub(crate) struct Faults(Option<Error>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Error) {
        match &mut self.0 {
            Some(first) => first.combine(fault),
            none => *none = Some(fault),
        }
    }

    pub(crate) fn say(&mut self, at: Span, what: impl std::fmt::Display) {
        self.add(Error::new(at, what));
    }

    pub(crate) fn none_or_err(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// The settings on the type itself; what was wrong with them goes to `faults`.
pub(crate) fn read(input: &DeriveInput, faults: &mut Faults) -> Attributes {
    let mut read = Attributes::default();
    for attribute in events(&input.attrs) {
        if !matches!(attribute.meta, Meta::List(_)) {
            faults.say(
                attribute.span(),
                format!("event wants its settings in parentheses: {EXAMPLE}"),
            );
            continue;
        }
        if let Err(fault) = attribute.parse_nested_meta(|meta| setting(&mut read, &meta, faults)) {
            faults.add(fault);
        }
    }
    misplaced(input, faults);
    read
}

/// One `name = value`. An `Err` means that the rest of the list cannot be read; any other fault lets it go on.
fn setting(
    read: &mut Attributes,
    meta: &ParseNestedMeta<'_>,
    faults: &mut Faults,
) -> syn::Result<()> {
    let at = meta.path.span();
    let Some(setting) = meta.path.get_ident().map(ToString::to_string) else {
        return Err(unknown(
            at,
            &quote::ToTokens::to_token_stream(&meta.path).to_string(),
        ));
    };
    let wants = match setting.as_str() {
        "name" => "a string: name = \"order.placed\"",
        "version" => "a whole number from 1 to 65535: version = 1",
        "key" => "the name of a field, as a string: key = \"order_id\"",
        "codec" => "the name of a codec, as a string: codec = \"json\"",
        _ => return Err(unknown(at, &setting)),
    };
    if !meta.input.peek(syn::Token![=]) {
        return Err(Error::new(at, format!("{setting} wants {wants}")));
    }
    // syn's own words for what it cannot read would tell of its features.
    let value: Expr = meta
        .value()?
        .parse()
        .map_err(|fault| Error::new(fault.span(), format!("{setting} wants {wants}")))?;
    let given = match setting.as_str() {
        "name" => read.name.is_some(),
        "version" => read.version.is_some(),
        "key" => read.key.is_some(),
        _ => read.codec.is_some(),
    };
    if given {
        faults.say(at, format!("{setting} is given twice: keep one of them"));
        return Ok(());
    }
    match (setting.as_str(), literal(&value)) {
        ("name", Some(Lit::Str(text))) => {
            if let Some(fault) = name::fault(&text.value()) {
                faults.say(text.span(), fault);
            }
            read.name = Some(text.clone());
        }
        ("version", Some(Lit::Int(number))) => {
            if let Some(fault) = version_fault(number) {
                faults.say(number.span(), fault);
            }
            read.version = Some(number.base10_parse().unwrap_or(1));
        }
        ("key", Some(Lit::Str(text))) => read.key = Some(text.clone()),
        ("codec", Some(Lit::Str(text))) => {
            if !CODECS.contains(&text.value().as_str()) {
                faults.say(
                    text.span(),
                    format!("codec \"{}\" is unknown: write codec = \"json\", or implement Event by hand and answer a Codec::new in `codec`", text.value()),
                );
            }
            read.codec = Some(text.clone());
        }
        _ => faults.say(value.span(), format!("{setting} wants {wants}")),
    }
    Ok(())
}

fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        Expr::Group(group) => literal(&group.expr),
        _ => None,
    }
}

fn version_fault(number: &LitInt) -> Option<String> {
    let digits = number.base10_digits();
    if !matches!(number.suffix(), "" | "u16") {
        return Some(format!(
            "version is a u16: write {digits} without the suffix"
        ));
    }
    match digits.parse::<u16>() {
        Ok(0) => Some("version 0 is below 1: versions begin with 1".to_owned()),
        Ok(_) => None,
        Err(_) => Some(format!(
            "version {digits} is above 65535, the largest there is"
        )),
    }
}

fn unknown(at: Span, setting: &str) -> Error {
    Error::new(
        at,
        format!("`{setting}` is unknown here: event takes `name`, `version`, `key` and `codec`"),
    )
}

/// `#[event(…)]` on a field or a variant would be taken in silence, as the derive owns the word everywhere in the type.
fn misplaced(input: &DeriveInput, faults: &mut Faults) {
    let mut field_attributes = |fields: &Fields| {
        for field in fields {
            for attribute in events(&field.attrs) {
                let remedy = field.ident.as_ref().map_or(String::new(), |field| {
                    format!("; for a key, write #[event(key = \"{field}\")] there")
                });
                faults.say(
                    attribute.span(),
                    format!("event belongs on the type, not on a field{remedy}"),
                );
            }
        }
    };
    match &input.data {
        Data::Struct(data) => field_attributes(&data.fields),
        Data::Enum(data) => data
            .variants
            .iter()
            .for_each(|variant| field_attributes(&variant.fields)),
        Data::Union(_) => {}
    }
    if let Data::Enum(data) = &input.data {
        for attribute in data
            .variants
            .iter()
            .flat_map(|variant| events(&variant.attrs))
        {
            faults.say(
                attribute.span(),
                "event belongs on the type, not on a variant",
            );
        }
    }
}

fn events(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("event"))
}
