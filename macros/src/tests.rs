//! What the derive expands to, token by token, and what it says of each mistake.

use proc_macro2::TokenStream;
use quote::quote;

use crate::event::expand;
use crate::name;

/// The derive's expansion of `input` is `expected`.
fn check(input: TokenStream, expected: TokenStream) {
    let input = syn::parse2(input).expect("a type");
    let expanded = expand(&input).unwrap_or_else(|fault| panic!("refused: {}", said(fault)));
    assert_eq!(expanded.to_string(), expected.to_string());
}

/// The derive refuses `input` and says `expected`, a message for each mistake.
fn check_refused(input: TokenStream, expected: &[&str]) {
    let input = syn::parse2(input).expect("a type");
    let fault = expand(&input).expect_err("taken though it is wrong");
    assert_eq!(said(fault), expected.join("\n"));
}

fn said(fault: syn::Error) -> String {
    let said: Vec<String> = fault.into_iter().map(|fault| fault.to_string()).collect();
    said.join("\n")
}

/// The cell that a type without parameters gets.
fn cell() -> TokenStream {
    quote! {
        #[inline]
        fn type_cell() -> ::core::option::Option<&'static ::ringbolt::__private::TypeCell> {
            static CELL: ::ringbolt::__private::TypeCell = ::ringbolt::__private::TypeCell::new();
            ::core::option::Option::Some(&CELL)
        }
    }
}

/// The method that a key gives.
fn key(path: TokenStream) -> TokenStream {
    quote! {
        #[inline]
        fn key(&self) -> ::ringbolt::Key<'_> {
            ::ringbolt::AsKey::as_key(&self.#path)
        }
    }
}

/// A struct `Placed { order_id, header }` with the key and the `key` method that belongs to it.
fn check_key(named: &str, path: TokenStream) {
    let (cell, key) = (cell(), key(path));
    check(
        quote! {
            #[event(key = #named)]
            struct Placed { order_id: u64, header: (u8, Header), r#type: u8 }
        },
        quote! {
            #[automatically_derived]
            impl ::ringbolt::Event for Placed {
                const NAME: &'static str = "placed";
                const VERSION: u16 = 1u16;
                #key
                #cell
            }
        },
    );
}

#[test]
fn everything_given() {
    let (cell, key) = (cell(), key(quote!(order_id)));
    check(
        quote! {
            #[event(name = "order.placed", version = 3, key = "order_id")]
            struct OrderPlaced { order_id: u64, cents: i64 }
        },
        quote! {
            #[automatically_derived]
            impl ::ringbolt::Event for OrderPlaced {
                const NAME: &'static str = "order.placed";
                const VERSION: u16 = 3u16;
                #key
                #cell
            }
        },
    );
}

#[test]
fn nothing_given() {
    let cell = cell();
    for shape in [
        quote!(
            struct MarketClosed;
        ),
        quote!(
            struct MarketClosed(u8);
        ),
        quote!(
            enum MarketClosed {
                Early,
                Late { by_ns: u64 },
            }
        ),
        quote!(
            #[event()]
            struct MarketClosed;
        ),
        quote!(
            #[doc = "unrelated"]
            #[event(version = 1u16)]
            struct MarketClosed {}
        ),
    ] {
        check(
            shape,
            quote! {
                #[automatically_derived]
                impl ::ringbolt::Event for MarketClosed {
                    const NAME: &'static str = "market.closed";
                    const VERSION: u16 = 1u16;
                    #cell
                }
            },
        );
    }
}

#[test]
fn settings_may_be_spread_over_attributes() {
    let (cell, key) = (cell(), key(quote!(0)));
    check(
        quote! {
            #[event(name = "tick")]
            #[event(version = 65535, key = "0",)]
            struct Tick(u64);
        },
        quote! {
            #[automatically_derived]
            impl ::ringbolt::Event for Tick {
                const NAME: &'static str = "tick";
                const VERSION: u16 = 65535u16;
                #key
                #cell
            }
        },
    );
}

#[test]
fn keys_are_fields_and_paths() {
    check_key("order_id", quote!(order_id));
    check_key("header.0", quote!(header.0));
    // Two indices in a row must not melt into one number: `header.1.0` as tokens is not `1.0`.
    let (one, zero) = (syn::Index::from(1), syn::Index::from(0));
    check_key("header.1.0", quote!(header.#one.#zero));
    check_key("header.1.order_id", quote!(header.1.order_id));
    check_key("type", quote!(r#type));
    check_key("r#type", quote!(r#type));
}

#[test]
fn parameters_are_bounded_and_have_no_cell() {
    let key = key(quote!(id));
    check(
        quote! {
            #[event(name = "row.changed", key = "id")]
            struct Row<I: Clone, V = u8, const N: usize = 2> where V: Copy { id: Option<I>, values: [V; N] }
        },
        quote! {
            #[automatically_derived]
            impl<I: Clone, V, const N: usize> ::ringbolt::Event for Row<I, V, N>
            where
                V: Copy,
                I: ::core::marker::Send + ::core::marker::Sync + 'static,
                V: ::core::marker::Send + ::core::marker::Sync + 'static,
                Option<I>: ::ringbolt::AsKey
            {
                const NAME: &'static str = "row.changed";
                const VERSION: u16 = 1u16;
                #key
            }
        },
    );
}

/// The method that a codec gives.
fn json_codec() -> TokenStream {
    quote! {
        fn codec() -> ::core::option::Option<::ringbolt::Codec<Self>> {
            ::core::option::Option::Some(::ringbolt::Codec::json())
        }
    }
}

#[test]
fn a_codec_is_named() {
    let (cell, codec) = (cell(), json_codec());
    check(
        quote! {
            #[event(codec = "json")]
            struct Placed { order_id: u64 }
        },
        quote! {
            #[automatically_derived]
            impl ::ringbolt::Event for Placed {
                const NAME: &'static str = "placed";
                const VERSION: u16 = 1u16;
                #codec
                #cell
            }
        },
    );
}

#[test]
fn a_codec_asks_of_a_type_with_parameters_what_it_needs() {
    let codec = json_codec();
    check(
        quote! {
            #[event(codec = "json")]
            struct Row<I>(I);
        },
        quote! {
            #[automatically_derived]
            impl<I> ::ringbolt::Event for Row<I>
            where
                I: ::core::marker::Send + ::core::marker::Sync + 'static,
                Self: ::ringbolt::__private::Serialize + ::ringbolt::__private::DeserializeOwned
            {
                const NAME: &'static str = "row";
                const VERSION: u16 = 1u16;
                #codec
            }
        },
    );
}

#[test]
fn unknown_codecs_are_refused() {
    check_refused(
        quote!(
            #[event(codec = "xml")]
            struct A;
        ),
        &[
            "codec \"xml\" is unknown: write codec = \"json\", or implement Event by hand and answer a Codec::new in `codec`",
        ],
    );
    check_refused(
        quote!(
            #[event(codec = json)]
            struct A;
        ),
        &["codec wants the name of a codec, as a string: codec = \"json\""],
    );
}

#[test]
fn a_constant_as_parameter_has_no_cell_and_no_bounds() {
    check(
        quote!(
            struct Page<const N: usize>([u8; N]);
        ),
        quote! {
            #[automatically_derived]
            impl<const N: usize> ::ringbolt::Event for Page<N> {
                const NAME: &'static str = "page";
                const VERSION: u16 = 1u16;
            }
        },
    );
}

#[test]
fn unknown_settings_are_refused() {
    let remedy = "event takes `name`, `version`, `key` and `codec`";
    check_refused(
        quote!(
            #[event(nam = "a")]
            struct A;
        ),
        &[&format!("`nam` is unknown here: {remedy}")],
    );
    check_refused(
        quote!(
            #[event(serde::name = "a")]
            struct A;
        ),
        &[&format!("`serde :: name` is unknown here: {remedy}")],
    );
    check_refused(
        quote!(
            #[event]
            struct A;
        ),
        &[
            "event wants its settings in parentheses: #[event(name = \"order.placed\", version = 1, key = \"order_id\")]",
        ],
    );
}

#[test]
fn settings_of_the_wrong_kind_are_refused() {
    check_refused(
        quote!(
            #[event(name = 1)]
            struct A;
        ),
        &["name wants a string: name = \"order.placed\""],
    );
    check_refused(
        quote!(
            #[event(name)]
            struct A;
        ),
        &["name wants a string: name = \"order.placed\""],
    );
    check_refused(
        quote!(
            #[event(name("a"))]
            struct A;
        ),
        &["name wants a string: name = \"order.placed\""],
    );
    check_refused(
        quote!(
            #[event(name = [1])]
            struct A;
        ),
        &["name wants a string: name = \"order.placed\""],
    );
    check_refused(
        quote!(
            #[event(version = "1")]
            struct A;
        ),
        &["version wants a whole number from 1 to 65535: version = 1"],
    );
    check_refused(
        quote!(
            #[event(version = -1)]
            struct A;
        ),
        &["version wants a whole number from 1 to 65535: version = 1"],
    );
    check_refused(
        quote!(
            #[event(key = id)]
            struct A {
                id: u64,
            }
        ),
        &["key wants the name of a field, as a string: key = \"order_id\""],
    );
}

#[test]
fn ill_formed_names_are_refused() {
    for (name, fault) in [
        (
            "",
            "name is empty: write one such as \"order.placed\", or leave `name` out to take the type's",
        ),
        (
            "order..placed",
            "name \"order..placed\" has an empty segment: put something between its dots, and no dot at its ends",
        ),
        (
            ".order",
            "name \".order\" has an empty segment: put something between its dots, and no dot at its ends",
        ),
        (
            "Order.placed",
            "name \"Order.placed\" is not in lower case: write \"order.placed\"",
        ),
        (
            "order placed",
            "name \"order placed\" contains ' ': use lower-case letters a-z, digits, `_`, `-`, and dots between segments",
        ),
    ] {
        check_refused(
            quote!(
                #[event(name = #name)]
                struct A;
            ),
            &[fault],
        );
    }
    check_refused(
        quote!(
            struct Größe;
        ),
        &[
            "`Größe` does not make a name of a-z, 0-9, `_` and `-`: give one, such as #[event(name = \"order.placed\")]",
        ],
    );
}

#[test]
fn versions_out_of_range_are_refused() {
    check_refused(
        quote!(
            #[event(version = 0)]
            struct A;
        ),
        &["version 0 is below 1: versions begin with 1"],
    );
    check_refused(
        quote!(
            #[event(version = 65536)]
            struct A;
        ),
        &["version 65536 is above 65535, the largest there is"],
    );
    check_refused(
        quote!(
            #[event(version = 2u32)]
            struct A;
        ),
        &["version is a u16: write 2 without the suffix"],
    );
}

#[test]
fn settings_given_twice_are_refused() {
    check_refused(
        quote!(
            #[event(name = "a", name = "b")]
            struct A;
        ),
        &["name is given twice: keep one of them"],
    );
    check_refused(
        quote!(
            #[event(version = 1)]
            #[event(version = 1)]
            struct A;
        ),
        &["version is given twice: keep one of them"],
    );
    check_refused(
        quote!(
            #[event(key = "0", key = "0")]
            struct A(u8);
        ),
        &["key is given twice: keep one of them"],
    );
    check_refused(
        quote!(
            #[event(codec = "json", codec = "json")]
            struct A;
        ),
        &["codec is given twice: keep one of them"],
    );
}

#[test]
fn keys_that_lead_nowhere_are_refused() {
    check_refused(
        quote!(
            #[event(key = "id")]
            struct A {
                order_id: u64,
                r#type: u8,
            }
        ),
        &["key names `id`, which is no field of this type: it has `order_id`, `type`"],
    );
    check_refused(
        quote!(
            #[event(key = "2")]
            struct A(u8, u8);
        ),
        &["key names `2`, which is no field of this type: it has `0`, `1`"],
    );
    check_refused(
        quote!(
            #[event(key = "id.inner")]
            struct A;
        ),
        &["key names `id`, which is no field of this type: it has no fields"],
    );
    check_refused(
        quote!(
            #[event(key = "")]
            struct A(u8);
        ),
        &["key is empty: name a field (`0`), or leave `key` out"],
    );
    for path in ["a..b", "a.", ".a", "a()", "a b", "a[0]", "99999999999"] {
        check_refused(
            quote!(
                #[event(key = #path)]
                struct A {
                    a: u8,
                }
            ),
            &[&format!(
                "key \"{path}\" is no path to a field: write \"field\", \"0\" or \"field.inner\""
            )],
        );
    }
}

#[test]
fn types_that_cannot_be_events_are_refused() {
    check_refused(
        quote!(union A { a: u8, b: i8 }),
        &[
            "a union cannot be an event, as nobody knows which of its fields to drop: use a struct or an enum",
        ],
    );
    check_refused(
        quote!(
            #[event(key = "0")]
            enum A {
                B(u8),
            }
        ),
        &[
            "an enum has no field to be its key: leave `key` out, or implement Event by hand and match in `key`",
        ],
    );
    check_refused(
        quote!(
            struct A<'a>(&'a str);
        ),
        &[
            "an event cannot borrow ('a), as it outlives the call that publishes it: own the data (String, Arc<str>, Box<[u8]>)",
        ],
    );
}

#[test]
fn settings_below_the_type_are_refused() {
    check_refused(
        quote!(
            struct A {
                #[event(key)]
                id: u64,
            }
        ),
        &[
            "event belongs on the type, not on a field; for a key, write #[event(key = \"id\")] there",
        ],
    );
    check_refused(
        quote!(
            enum A {
                #[event(name = "b")]
                B(#[event(key)] u8),
            }
        ),
        &[
            "event belongs on the type, not on a field",
            "event belongs on the type, not on a variant",
        ],
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    check_refused(
        quote!(
            #[event(name = "", version = 0, key = "c")]
            struct A<'a> {
                b: &'a str,
            }
        ),
        &[
            "name is empty: write one such as \"order.placed\", or leave `name` out to take the type's",
            "version 0 is below 1: versions begin with 1",
            "an event cannot borrow ('a), as it outlives the call that publishes it: own the data (String, Arc<str>, Box<[u8]>)",
            "key names `c`, which is no field of this type: it has `b`",
        ],
    );
}

#[test]
fn names_are_cut_at_capitals() {
    for (identifier, expected) in [
        ("Tick", "tick"),
        ("OrderPlaced", "order.placed"),
        ("HTTPRequest", "http.request"),
        ("BookL2Update", "book.l2.update"),
        ("Depth100Ms", "depth100.ms"),
        ("ABTest", "ab.test"),
        ("order_placed", "order.placed"),
        ("Order_Placed", "order.placed"),
        ("_Hidden_", "hidden"),
        ("USD", "usd"),
        ("X", "x"),
    ] {
        assert_eq!(name::dotted(identifier), expected, "of {identifier}");
        assert_eq!(name::fault(expected), None);
    }
}
