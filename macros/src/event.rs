//! From a type to its `impl Event`.
//!
//! The expansion names everything by its full path and adds no items beside the `impl`, so it cannot meet anything of
//! the user's. Identifiers that come from the key's string carry the string's place: a field that does not implement
//! `AsKey` is reported there and not somewhere inside the derive.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{
    Data, DeriveInput, Fields, GenericParam, Generics, Index, LitStr, Member, Type, parse_quote,
    parse_quote_spanned,
};

use crate::attributes::{self, Faults};
use crate::name;

/// The `impl`, or everything that is wrong with the type.
pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let mut faults = Faults::default();
    let read = attributes::read(input, &mut faults);
    if let Data::Union(data) = &input.data {
        faults.say(
            data.union_token.span,
            "a union cannot be an event, as nobody knows which of its fields to drop: use a struct or an enum",
        );
    }
    lifetimes(&input.generics, &mut faults);
    let name = read
        .name
        .map_or_else(|| own_name(&input.ident, &mut faults), |name| name.value());
    let version = read.version.unwrap_or(1);
    let key = read
        .key
        .as_ref()
        .and_then(|key| KeyPath::find(key, &input.data, &mut faults));
    faults.none_or_err()?;

    let generics = bounded(&input.generics, key.as_ref(), read.codec.as_ref());
    let (parameters, arguments, bounds) = generics.split_for_impl();
    let ident = &input.ident;
    let key = key.map(|key| key.method());
    let codec = read.codec.as_ref().map(codec);
    let type_cell = type_cell(&input.generics);
    Ok(quote! {
        #[automatically_derived]
        impl #parameters ::ringbolt::Event for #ident #arguments #bounds {
            const NAME: &'static str = #name;
            const VERSION: u16 = #version;
            #key
            #codec
            #type_cell
        }
    })
}

/// Where the key is: the members to follow from `self`, and the type of the first when the path ends there.
struct KeyPath {
    members: Vec<Member>,
    field_type: Option<Type>,
    at: Span,
}

impl KeyPath {
    /// Follows the key's first step into the type; what lies deeper is the compiler's to check, which knows its type.
    fn find(key: &LitStr, data: &Data, faults: &mut Faults) -> Option<Self> {
        let at = key.span();
        let path = key.value();
        let fields = match data {
            Data::Struct(data) => &data.fields,
            Data::Enum(_) => {
                faults.say(at, "an enum has no field to be its key: leave `key` out, or implement Event by hand and match in `key`");
                return None;
            }
            Data::Union(_) => return None,
        };
        if path.is_empty() {
            faults.say(
                at,
                format!(
                    "key is empty: name a field ({}), or leave `key` out",
                    names(fields)
                ),
            );
            return None;
        }
        let mut members = Vec::new();
        for segment in path.split('.') {
            let Some(member) = member(segment, at) else {
                faults.say(
                    at,
                    format!("key \"{path}\" is no path to a field: write \"field\", \"0\" or \"field.inner\""),
                );
                return None;
            };
            members.push(member);
        }
        let found = fields
            .members()
            .zip(fields)
            .find(|(member, _)| same(member, &members[0]));
        let Some((member, field)) = found else {
            let first = path.split('.').next().unwrap_or_default();
            faults.say(
                at,
                format!(
                    "key names `{first}`, which is no field of this type: it has {}",
                    names(fields)
                ),
            );
            return None;
        };
        members[0] = located(member, at);
        let field_type = (members.len() == 1).then(|| field.ty.clone());
        Some(Self {
            members,
            field_type,
            at,
        })
    }

    fn method(&self) -> TokenStream {
        let members = &self.members;
        quote_spanned! {self.at=>
            #[inline]
            fn key(&self) -> ::ringbolt::Key<'_> {
                ::ringbolt::AsKey::as_key(&self #(.#members)*)
            }
        }
    }
}

/// A field's name or number; keywords stand for the raw identifier.
fn member(segment: &str, at: Span) -> Option<Member> {
    if !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()) {
        let index = segment.parse().ok()?;
        return Some(Member::Unnamed(Index { index, span: at }));
    }
    let plain = segment.strip_prefix("r#").unwrap_or(segment);
    let ident = syn::parse_str::<Ident>(plain)
        .or_else(|_| syn::parse_str(&format!("r#{plain}")))
        .ok()?;
    Some(located(Member::Named(ident), at))
}

fn located(mut member: Member, at: Span) -> Member {
    match &mut member {
        // `at`'s place, but the field's own hygiene: a struct may itself come out of a macro.
        Member::Named(ident) => ident.set_span(ident.span().located_at(at)),
        Member::Unnamed(index) => index.span = at,
    }
    member
}

fn same(one: &Member, other: &Member) -> bool {
    match (one, other) {
        (Member::Named(one), Member::Named(other)) => one.unraw() == other.unraw(),
        (Member::Unnamed(one), Member::Unnamed(other)) => one.index == other.index,
        _ => false,
    }
}

/// The fields there are, as a message lists them.
fn names(fields: &Fields) -> String {
    let names: Vec<String> = fields
        .members()
        .map(|member| match member {
            Member::Named(ident) => format!("`{}`", ident.unraw()),
            Member::Unnamed(index) => format!("`{}`", index.index),
        })
        .collect();
    match names.as_slice() {
        [] => "no fields".to_owned(),
        names => names.join(", "),
    }
}

fn own_name(ident: &Ident, faults: &mut Faults) -> String {
    let name = name::dotted(&ident.unraw().to_string());
    if name::fault(&name).is_some() {
        faults.say(
            ident.span(),
            format!("`{ident}` does not make a name of a-z, 0-9, `_` and `-`: give one, such as #[event(name = \"order.placed\")]"),
        );
    }
    name
}

fn lifetimes(generics: &Generics, faults: &mut Faults) {
    for parameter in generics.lifetimes() {
        let lifetime = &parameter.lifetime;
        faults.say(
            lifetime.span(),
            format!("an event cannot borrow ({lifetime}), as it outlives the call that publishes it: own the data (String, Arc<str>, Box<[u8]>)"),
        );
    }
}

/// The method that answers the codec; the constructor has the codec's name, and its place: what the type lacks for
/// it is told there.
fn codec(name: &LitStr) -> TokenStream {
    let constructor = Ident::new(&name.value(), name.span());
    quote_spanned! {name.span()=>
        fn codec() -> ::core::option::Option<::ringbolt::Codec<Self>> {
            ::core::option::Option::Some(::ringbolt::Codec::#constructor())
        }
    }
}

/// The type's own bounds, and those that `Event`, its key and its codec ask of the type parameters.
fn bounded(generics: &Generics, key: Option<&KeyPath>, codec: Option<&LitStr>) -> Generics {
    let mut bounded = generics.clone();
    let types: Vec<&Ident> = generics
        .type_params()
        .map(|parameter| &parameter.ident)
        .collect();
    if types.is_empty() {
        return bounded;
    }
    let bounds = bounded.make_where_clause();
    for ty in &types {
        bounds.predicates.push(parse_quote! {
            #ty: ::core::marker::Send + ::core::marker::Sync + 'static
        });
    }
    if let Some(KeyPath {
        field_type: Some(ty),
        at,
        ..
    }) = key
        && mentions(ty.to_token_stream(), &types)
    {
        bounds
            .predicates
            .push(parse_quote_spanned! {*at=> #ty: ::ringbolt::AsKey });
    }
    if let Some(codec) = codec {
        bounds.predicates.push(if codec.value() == "pod" {
            parse_quote_spanned! {codec.span()=>
                Self: ::ringbolt::__private::NoUninit + ::ringbolt::__private::AnyBitPattern
            }
        } else {
            parse_quote_spanned! {codec.span()=>
                Self: ::ringbolt::__private::Serialize + ::ringbolt::__private::DeserializeOwned
            }
        });
    }
    bounded
}

fn mentions(tokens: TokenStream, types: &[&Ident]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => types.contains(&&ident),
        TokenTree::Group(group) => mentions(group.stream(), types),
        _ => false,
    })
}

/// Where the type's number is kept. Left out for types with parameters: a static inside a generic function is one for
/// all of them.
fn type_cell(generics: &Generics) -> Option<TokenStream> {
    let parameters = generics
        .params
        .iter()
        .any(|parameter| !matches!(parameter, GenericParam::Lifetime(_)));
    (!parameters).then(|| {
        quote! {
            #[inline]
            fn type_cell() -> ::core::option::Option<&'static ::ringbolt::__private::TypeCell> {
                static CELL: ::ringbolt::__private::TypeCell = ::ringbolt::__private::TypeCell::new();
                ::core::option::Option::Some(&CELL)
            }
        }
    })
}
