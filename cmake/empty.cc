// Keeps the library of a module that has headers only a real one.
