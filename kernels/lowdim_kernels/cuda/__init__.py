"""How CUDA C++ sources are compiled and launched; the sources lie beside their operations."""
