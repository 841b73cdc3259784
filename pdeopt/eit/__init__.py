"""Electrical impedance tomography: tanks, the complete electrode model, measured data, segmentation and score."""

from pdeopt.eit.calibration import Calibration, calibrate
from pdeopt.eit.electrodes import CompleteElectrodeModel, complete_electrode_model
from pdeopt.eit.experiment import Experiment
from pdeopt.eit.ktc import TankData, read_ktc
from pdeopt.eit.noise import absolute_noise, difference_noise, superposition_violation
from pdeopt.eit.score import segmentation_score
from pdeopt.eit.sensitivity import VoltageJacobian, voltage_jacobian
from pdeopt.eit.shape_fit import ShapeFit, ShapeFitter
from pdeopt.eit.simulation import simulated_data
from pdeopt.eit.tank import Tank, electrode_names
from pdeopt.eit.tank_cylinder import cylinder_mesh
from pdeopt.eit.tank_disk import disk_mesh
from pdeopt.eit.tank_file import electrode_names_of, read_tank_mesh
from pdeopt.eit.voltages import ElectrodeVoltages

__all__ = [
    "Calibration",
    "CompleteElectrodeModel",
    "ElectrodeVoltages",
    "Experiment",
    "ShapeFit",
    "ShapeFitter",
    "Tank",
    "TankData",
    "VoltageJacobian",
    "absolute_noise",
    "calibrate",
    "complete_electrode_model",
    "cylinder_mesh",
    "difference_noise",
    "disk_mesh",
    "electrode_names",
    "electrode_names_of",
    "read_ktc",
    "read_tank_mesh",
    "segmentation_score",
    "simulated_data",
    "superposition_violation",
    "voltage_jacobian",
]
