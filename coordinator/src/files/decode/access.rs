//! How serde walks lists, mappings and the values of enums.

use std::{cell::RefCell, slice, vec};

use serde::de::{
    self, DeserializeSeed, EnumAccess, IntoDeserializer as _, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{Diagnostics, Error, Reader, Slot};
use crate::files::{
    diagnostic::{Place, quoted},
    tree::{Entry, Node, Scalar},
};

/// A list, item by item.
pub(super) struct Items<'a> {
    rest: slice::Iter<'a, Node>,
    found: &'a RefCell<Diagnostics>,
    at: Slot<'a>,
}

impl<'a> Items<'a> {
    pub(super) fn new(items: &'a [Node], found: &'a RefCell<Diagnostics>, at: Slot<'a>) -> Self {
        // An item is spoken of by the key of its list.
        Self { rest: items.iter(), found, at: Slot { variant: None, ..at } }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        let reader = Reader { node, found: self.found, at: self.at };
        seed.deserialize(reader).map(Some).map_err(|error| error.at(&node.place))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// A mapping, entry by entry.
pub(super) struct Entries<'a> {
    rest: vec::IntoIter<&'a Entry>,
    current: Option<&'a Entry>,
    found: &'a RefCell<Diagnostics>,
    at: Slot<'a>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(entries: Vec<&'a Entry>, found: &'a RefCell<Diagnostics>, at: Slot<'a>) -> Self {
        Self { rest: entries.into_iter(), current: None, found, at }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.current = self.rest.next();
        let Some(entry) = self.current else { return Ok(None) };
        let key: de::value::StrDeserializer<'_, Error> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| error.at(&entry.key_place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(entry) = self.current else { return Err(de::Error::custom("a value without a key")) };
        let at = Slot { key: Some(&entry.key), variant: None, ..self.at };
        let reader = Reader { node: &entry.value, found: self.found, at };
        seed.deserialize(reader).map_err(|error| error.at(&entry.value.place))
    }
}

/// One value of an enum: a bare name, or a name with content.
pub(super) struct Variant<'a> {
    pub(super) name: &'a str,
    pub(super) place: &'a Place,
    pub(super) content: Option<&'a Node>,
    pub(super) found: &'a RefCell<Diagnostics>,
}

impl<'a> Variant<'a> {
    /// The content; for a bare name, and for a name with nothing behind its colon, an empty mapping.
    fn with_content<T>(self, read: impl FnOnce(Reader<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let at = Slot { variant: Some(self.name), ..Slot::default() };
        let empty = Node::empty_mapping(self.place.clone());
        let given = self.content.filter(|node| node.scalar() != Some(Scalar::Nothing));
        read(Reader { node: given.unwrap_or(&empty), found: self.found, at })
    }
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: de::value::StrDeserializer<'_, Error> = self.name.into_deserializer();
        let value = seed.deserialize(name).map_err(|error| error.at(self.place))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None => Ok(()),
            Some(node) => Err(Error::place(
                &node.place,
                format!("{} is a bare word: nothing stands behind it", quoted(self.name)),
            )),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.with_content(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.with_content(|reader| de::Deserializer::deserialize_seq(reader, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.with_content(|reader| {
            let name = reader.at.variant.unwrap_or_default();
            reader.structure(name, fields, visitor)
        })
    }
}
