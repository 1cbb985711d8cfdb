"""A small contract for the tests: compiled with solc 0.8.37, evmVersion prague, optimizer 200 runs.

Source::

    // SPDX-License-Identifier: MIT
    pragma solidity 0.8.37;

    contract Probe {
        error ProbeRefused(uint64 closedAt, address who);

        event Noted(uint256 indexed round, address indexed worker, bytes32 digest);

        mapping(uint256 => bytes32) public notes;
        uint256 public count;

        function note(uint256 round, bytes32 digest) external payable {
            notes[round] = digest;
            count += 1;
            emit Noted(round, msg.sender, digest);
        }

        function burst(uint256 n) external {
            for (uint256 i = 0; i < n; ++i) emit Noted(i, msg.sender, bytes32(i));
        }

        function refuse() external view {
            revert ProbeRefused(uint64(block.timestamp), msg.sender);
        }

        function reason() external pure {
            revert("window closed");
        }

        function panic(uint256 divisor) external pure returns (uint256) {
            return 1 / divisor;
        }

        function context() external view returns (uint256, uint256, uint256, bytes32, uint256) {
            return (
                block.number, block.timestamp, block.prevrandao, blockhash(block.number - 1), block.basefee
            );
        }

        function record() external {
            notes[block.number] = keccak256(
                abi.encode(block.timestamp, block.prevrandao, blockhash(block.number - 1), block.basefee)
            );
        }

        /// Needs far more gas than it uses: the inner call gets 63/64 and must have enough left.
        function nested(uint256 depth) external returns (uint256) {
            if (depth == 0) {
                count += 1;
                return gasleft();
            }
            require(gasleft() > 100000, "outer gas");
            return this.nested(depth - 1);
        }

        function clear(uint256 round) external {
            delete notes[round];
        }
    }
"""

import json
from typing import Final

BYTECODE: Final = bytes.fromhex(
    "6080604052348015600e575f5ffd5b5061052e8061001c5f395ff3fe60806040526004361061009a575f3560e01c806365"
    "7eb4ca11610062578063657eb4ca1461013a57806372f40a6b14610159578063b082141214610178578063c0fe1af8146101"
    "8b578063d0496d6a146101b5578063e134e33d146101f1575f5ffd5b806306661abd1461009e57806310b80908146100c657"
    "8063266cf109146100e557806361c3a7e6146100fb57806362c69b8014610126575b5f5ffd5b3480156100a9575f5ffd5b50"
    "6100b360015481565b6040519081526020015b60405180910390f35b3480156100d1575f5ffd5b506100b36100e036600461"
    "047a565b610205565b3480156100f0575f5ffd5b506100f96102e2565b005b348015610106575f5ffd5b506100b361011536"
    "600461047a565b5f6020819052908152604090205481565b348015610131575f5ffd5b506100f9610336565b348015610145"
    "575f5ffd5b506100f961015436600461047a565b610361565b348015610164575f5ffd5b506100b361017336600461047a56"
    "5b6103ae565b6100f9610186366004610491565b6103ba565b348015610196575f5ffd5b506100f96101a536600461047a56"
    "5b5f90815260208190526040812055565b3480156101c0575f5ffd5b506101c961041d565b60408051958652602086019490"
    "9452928401919091526060830152608082015260a0016100bd565b3480156101fc575f5ffd5b506100f9610442565b5f815f"
    "0361022a576001805f82825461021e91906104c5565b90915550505a92915050565b620186a05a1161026d5760405162461b"
    "cd60e51b81526020600482015260096024820152686f757465722067617360b81b60448201526064015b60405180910390fd"
    "5b306310b8090861027e6001856104d8565b6040518263ffffffff1660e01b815260040161029c91815260200190565b6020"
    "604051808303815f875af11580156102b8573d5f5f3e3d5ffd5b505050506040513d601f19601f8201168201806040525081"
    "01906102dc91906104eb565b92915050565b42446102ef6001436104d8565b60408051602081019490945283019190915240"
    "606082015248608082015260a00160408051601f198184030181529181528151602092830120435f90815292839052912055"
    "565b604051631532deb760e21b815267ffffffffffffffff42166004820152336024820152604401610264565b5f5b818110"
    "156103aa57604051818152339082907fda139efc589d76a42bf80b957ad1e1cabbdd8f3a49296dceba870233cba603c29060"
    "200160405180910390a3600101610363565b5050565b5f6102dc826001610502565b5f828152602081905260408120829055"
    "60018054909182916103dd9083906104c5565b9091555050604051818152339083907fda139efc589d76a42bf80b957ad1e1"
    "cabbdd8f3a49296dceba870233cba603c29060200160405180910390a35050565b5f808080804342446104306001846104d8"
    "565b92989197509550904093504892509050565b60405162461bcd60e51b815260206004820152600d60248201526c1dda5b"
    "991bddc818db1bdcd959609a1b6044820152606401610264565b5f6020828403121561048a575f5ffd5b5035919050565b5f"
    "5f604083850312156104a2575f5ffd5b50508035926020909101359150565b634e487b7160e01b5f52601160045260245ffd"
    "5b808201808211156102dc576102dc6104b1565b818103818111156102dc576102dc6104b1565b5f602082840312156104fb"
    "575f5ffd5b5051919050565b5f8261051c57634e487b7160e01b5f52601260045260245ffd5b50049056fea164736f6c6343"
    "000825000a"
)

ABI: Final[list[dict[str, object]]] = json.loads(
    """
[
 {
  "inputs": [
   {
    "internalType": "uint64",
    "name": "closedAt",
    "type": "uint64"
   },
   {
    "internalType": "address",
    "name": "who",
    "type": "address"
   }
  ],
  "name": "ProbeRefused",
  "type": "error"
 },
 {
  "anonymous": false,
  "inputs": [
   {
    "indexed": true,
    "internalType": "uint256",
    "name": "round",
    "type": "uint256"
   },
   {
    "indexed": true,
    "internalType": "address",
    "name": "worker",
    "type": "address"
   },
   {
    "indexed": false,
    "internalType": "bytes32",
    "name": "digest",
    "type": "bytes32"
   }
  ],
  "name": "Noted",
  "type": "event"
 },
 {
  "inputs": [
   {
    "internalType": "uint256",
    "name": "n",
    "type": "uint256"
   }
  ],
  "name": "burst",
  "outputs": [],
  "stateMutability": "nonpayable",
  "type": "function"
 },
 {
  "inputs": [
   {
    "internalType": "uint256",
    "name": "round",
    "type": "uint256"
   }
  ],
  "name": "clear",
  "outputs": [],
  "stateMutability": "nonpayable",
  "type": "function"
 },
 {
  "inputs": [],
  "name": "context",
  "outputs": [
   {
    "internalType": "uint256",
    "name": "",
    "type": "uint256"
   },
   {
    "internalType": "uint256",
    "name": "",
    "type": "uint256"
   },
   {
    "internalType": "uint256",
    "name": "",
    "type": "uint256"
   },
   {
    "internalType": "bytes32",
    "name": "",
    "type": "bytes32"
   },
   {
    "internalType": "uint256",
    "name": "",
    "type": "uint256"
   }
  ],
  "stateMutability": "view",
  "type": "function"
 },
 {
  "inputs": [],
  "name": "count",
  "outputs": [
   {
    "internalType": "uint256",
    "name": "",
    "type": "uint256"
   }
  ],
  "stateMutability": "view",
  "type": "function"
 },
 {
  "inputs": [
   {
    "internalType": "uint256",
    "name": "depth",
    "type": "uint256"
   }
  ],
  "name": "nested",
  "outputs": [
   {
    "internalType": "uint256",
    "name": "",
    "type": "uint256"
   }
  ],
  "stateMutability": "nonpayable",
  "type": "function"
 },
 {
  "inputs": [
   {
    "internalType": "uint256",
    "name": "round",
    "type": "uint256"
   },
   {
    "internalType": "bytes32",
    "name": "digest",
    "type": "bytes32"
   }
  ],
  "name": "note",
  "outputs": [],
  "stateMutability": "payable",
  "type": "function"
 },
 {
  "inputs": [
   {
    "internalType": "uint256",
    "name": "",
    "type": "uint256"
   }
  ],
  "name": "notes",
  "outputs": [
   {
    "internalType": "bytes32",
    "name": "",
    "type": "bytes32"
   }
  ],
  "stateMutability": "view",
  "type": "function"
 },
 {
  "inputs": [
   {
    "internalType": "uint256",
    "name": "divisor",
    "type": "uint256"
   }
  ],
  "name": "panic",
  "outputs": [
   {
    "internalType": "uint256",
    "name": "",
    "type": "uint256"
   }
  ],
  "stateMutability": "pure",
  "type": "function"
 },
 {
  "inputs": [],
  "name": "reason",
  "outputs": [],
  "stateMutability": "pure",
  "type": "function"
 },
 {
  "inputs": [],
  "name": "record",
  "outputs": [],
  "stateMutability": "nonpayable",
  "type": "function"
 },
 {
  "inputs": [],
  "name": "refuse",
  "outputs": [],
  "stateMutability": "view",
  "type": "function"
 }
]
"""
)
