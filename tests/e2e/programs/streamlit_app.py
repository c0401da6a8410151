"""A Streamlit app with one widget; its answer can only come from a run of the script on the server."""

import streamlit as st  # type: ignore[import-not-found]  # lives in the other environment

st.title("Squares")
number = st.slider("number", 0, 1000, 3)
st.write(f"square is {number * number}")
