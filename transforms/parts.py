"""How kernels are compiled: numba's front end for each function once, LLVM for each part once.

numba itself makes machine code of every function, and optimises what a function calls anew in each of its callers.

1. A function that only compiled code calls stays a fragment: what the front end made of it, as it is.
2. A part is one function with all fragments that it reaches, optimised together. It calls other parts by their names.
3. Both are kept on disk, see ``kept_functions``. A name says what a function is, and is the same in every process.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined]  # it is of C
from numba.core import funcdesc, itanium_mangler, types
from numba.core.codegen import JITCodeLibrary, RuntimeLinker
from numba.core.codegen import ll as llvm  # type: ignore[attr-defined]  # llvmlite, whose version is that of numba
from numba.core.compiler import Compiler, DefaultPassBuilder, _LowerResult
from numba.core.compiler_machinery import register_pass
from numba.core.environment import lookup_environment
from numba.core.errors import NumbaError
from numba.core.lowering import Lower
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering


class _Linked(JITCodeLibrary):
    """What a function is compiled to."""

    origin: Any = None
    """Module, name and argument types of the function, by which it is found again; see ``kept_functions``."""
    environments: Sequence[Any] = ()
    """What numba hands the code of Python, where it needs any."""

    def _find_environments(self) -> None:
        found = [lookup_environment(each.name) for each in self._final_module.global_variables]
        self.environments = [each for each in found if each is not None and each.can_cache()]


class Fragment(_Linked):
    """The code of one function, to be linked into parts."""

    def add_llvm_module(self, ll_module: Any) -> None:
        if next(self._final_module.functions, None) is None:
            self._final_module = ll_module
        else:
            self._final_module.link_in(ll_module)

    def finalize(self) -> None:
        self._raise_if_finalized()
        self._finalize_dynamic_globals()
        for defined in (*self._final_module.functions, *self._final_module.global_variables):
            if not defined.is_declaration and defined.linkage in {llvm.Linkage.external, llvm.Linkage.common}:
                # Of several like it one stays, and none where all calls are inlined.
                defined.linkage = "linkonce_odr"
        self._find_environments()
        self._finalized = True

    @property
    def code(self) -> bytes:
        """Bitcode of the function, and of what it calls of numba's own."""
        module = self._final_module.clone()
        own = {each.name for each in module.functions if not each.is_declaration}
        for library in self._linking_libraries:
            if not isinstance(library, Fragment | Part):
                module.link_in(library._get_module_for_linking(), preserve=True)
        _hide(module, own)
        return bytes(module.as_bitcode())

    @property
    def links(self) -> list[Any]:
        """The fragments and parts that it calls."""
        return [each for each in self._linking_libraries if isinstance(each, Fragment | Part)]

    @classmethod
    def of(cls, codegen: Any, name: str, bitcode: bytes, links: list[Any], environments: Sequence[Any]) -> Fragment:
        """The fragment of that bitcode, and what of it is not in it."""
        fragment = cls(codegen, name)
        fragment._final_module = llvm.parse_bitcode(bitcode)
        fragment._linking_libraries, fragment.environments = links, environments
        fragment._finalized = True
        return fragment


class Part(_Linked):
    """The machine code of one function and of every fragment that it reaches."""

    def add_llvm_module(self, ll_module: Any) -> None:
        self._final_module.link_in(ll_module)

    def finalize(self) -> None:
        self._raise_if_finalized()
        own = {each.name for each in (*self._final_module.functions, *self._final_module.global_variables)}
        for library in self._reached():
            if isinstance(library, Part):
                continue
            self._reload_init.update(library._reload_init)
            is_fragment = isinstance(library, Fragment)
            module = library._final_module if is_fragment else library._get_module_for_linking()
            self._final_module.link_in(module, preserve=True)
        self._let_go_of_unused(own)
        self._optimize_final_module()
        _hide(self._final_module, own)
        self._final_module.verify()
        self._finalize_final_module()
        self._find_environments()
        self._set_environments()

    def _let_go_of_unused(self, own: set[str]) -> None:
        for each in self._final_module.global_variables:
            if each.linkage == llvm.Linkage.common and each.name not in own:
                each.linkage = "linkonce_odr"
        # Functions that call each other in a circle are called by address.
        circle = {name.removeprefix(RuntimeLinker.PREFIX) for name in _addresses(self)}
        for function in self._final_module.functions:
            if function.name in circle:
                function.linkage = "external"
                own.add(function.name)

    def _set_environments(self) -> None:
        codegen: Any = self._codegen
        for each in self.environments:
            codegen.set_env(each.env_name, each)

    @property
    def code(self) -> bytes:
        """Machine code, as an object file."""
        return bytes(self._get_compiled_object())

    @property
    def links(self) -> list[Any]:
        """The parts that it calls."""
        return [each for each in self._reached() if isinstance(each, Part)]

    @classmethod
    def of(cls, codegen: Any, name: str, object_code: bytes, entry: str, environments: Sequence[Any]) -> Part:
        """The part of that machine code; the parts that it calls must be there. entry: the name for Python."""
        part = cls(codegen, name)
        part.enable_object_caching()
        part._set_compiled_object(object_code)
        part._finalize_final_module()
        codegen._engine._defined_symbols.add(entry)  # as numba does where it loads
        part.environments = environments
        part._set_environments()
        return part

    def _reached(self) -> Iterator[Any]:
        """Each library that it calls, or a fragment that it reaches, once."""
        waiting = list(self._linking_libraries)
        seen: set[int] = set()
        while waiting:
            library = waiting.pop()
            if id(library) not in seen:
                seen.add(id(library))
                yield library
                if isinstance(library, Fragment):
                    waiting += library._linking_libraries


@register_pass(mutates_CFG=True, analysis_only=False)
class _FragmentLowering(NativeLowering):
    """numba's lowering, into a fragment."""

    _name = "fragment_lowering"
    library: type[Fragment | Part] = Fragment

    def run_pass(self, state: Any) -> bool:
        target, flags = state.targetctx, state.flags
        library = state.library = self.library(target.codegen(), state.func_id.func_qualname)
        library.enable_object_caching()
        described = funcdesc.PythonFunctionDescriptor.from_specialized_function(
            state.func_ir,
            state.typemap,
            state.return_type,
            state.calltypes,
            mangler=target.mangler,
            inline=flags.forceinline,
            noalias=flags.noalias,
            abi_tags=[flags.get_mangle_string()],
        )
        with target.push_code_library(library):
            lower = Lower(target, library, described, state.func_ir, metadata=state.metadata)
            lower.lower()
            if not flags.no_cpython_wrapper:
                lower.create_cpython_wrapper(flags.release_gil)
        library._ensure_finalized()
        entry = entry_point(target, library, described, lower.env)
        target.insert_user_function(entry, described, [library])
        state.reload_init.extend(library._reload_init)
        state["cr"] = _LowerResult(described, lower.call_helper, cfunc=entry, env=lower.env)
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(_FragmentLowering):
    """numba's lowering, into a part."""

    _name = "part_lowering"
    library = Part


class FragmentCompiler(Compiler):
    """numba's passes, the last of which makes a fragment."""

    lowering: type[_FragmentLowering] = _FragmentLowering

    def define_pipelines(self) -> list[Any]:
        self.state.targetctx.mangler = _mangled
        function = self.state.func_id
        if is_named(function.func):
            function.unique_id = None  # it counts what this process has compiled
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [(self.lowering if each is NativeLowering else each, said) for each, said in passes.passes]
        passes._finalized = False
        passes.finalize()
        return [passes]


class PartCompiler(FragmentCompiler):
    """numba's passes, the last of which makes a part."""

    lowering = _PartLowering


class LinkedFunction(CPUDispatcher):
    """A function as other compiled code calls it."""

    def get_call_template(self, args: Any, kws: Any) -> Any:
        # For each number that stands in a call numba would compile the function again: 17 candle counts, 17 times.
        try:
            return super().get_call_template(
                [types.unliteral(each) for each in args], {name: types.unliteral(each) for name, each in kws.items()}
            )
        except NumbaError:
            return super().get_call_template(args, kws)


def _hide(module: Any, shown: Collection[str]) -> None:
    """Keep functions to the module: another process may have called something else so."""
    for function in module.functions:
        if not function.is_declaration and function.name not in shown:
            function.linkage = "internal"


def _mangled(name: str, argument_types: Sequence[Any], *, abi_tags: Sequence[str] = (), uid: int | None = None) -> str:
    """The symbol of a function; numba's own numbers the records that the process has met."""
    types_digest = hashlib.sha256(" ".join(map(str, argument_types)).encode()).hexdigest()[:16]
    return str(itanium_mangler.mangle(f"{name}.{types_digest}", (), abi_tags=abi_tags, uid=uid))


def _addresses(library: Any) -> list[str]:
    """The functions that are called by an address, which the process that compiled them gives."""
    names = [each.name for each in library._final_module.global_variables]
    return [name for name in names if name.startswith(RuntimeLinker.PREFIX)]


def holds_addresses(library: Any) -> bool:
    """Whether the code means something in this process alone."""
    return library.has_dynamic_globals or bool(_addresses(library))


def entry_point(target: Any, library: Any, described: Any, environment: Any) -> Any:
    """What Python calls; nothing that may be called where the code has no wrapper for Python."""
    wrapper = described.llvm_cpython_wrapper_name
    if isinstance(library, Part) and library.codegen._engine.is_symbol_defined(wrapper):
        return target.get_executable(library, described, environment)
    name = described.qualname.rpartition(".")[2]
    return _dynfunc.make_function(described.lookup_module(), name, "", 0, environment, (library,))


def is_named(function: Any) -> bool:
    """Whether the function is the one that its module calls so: its name then tells it from all others."""
    named = getattr(sys.modules.get(function.__module__), function.__qualname__, None)
    return getattr(getattr(named, "py_func", named), "__code__", None) is function.__code__
