//! Real peers for the tests of the whole house.
