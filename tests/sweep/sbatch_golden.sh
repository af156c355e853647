#!/bin/bash

# Parameters
#SBATCH --cpus-per-task=1
#SBATCH --error=FOLDER/slurm/%j_0_log.err
#SBATCH --job-name=sparcade
#SBATCH --mem=4GB
#SBATCH --nodes=1
#SBATCH --open-mode=append
#SBATCH --output=FOLDER/slurm/%j_0_log.out
#SBATCH --partition=short
#SBATCH --signal=USR2@90
#SBATCH --time=60
#SBATCH --wckey=submitit

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output FOLDER/slurm/%j_%t_log.out --error FOLDER/slurm/%j_%t_log.err PYTHON -u -m submitit.core._submit FOLDER/slurm
#!/bin/bash

# Parameters
#SBATCH --array=0-2%3
#SBATCH --cpus-per-task=1
#SBATCH --error=FOLDER/slurm/%A_%a_0_log.err
#SBATCH --job-name=sparcade
#SBATCH --mem=4GB
#SBATCH --nodes=1
#SBATCH --open-mode=append
#SBATCH --output=FOLDER/slurm/%A_%a_0_log.out
#SBATCH --partition=short
#SBATCH --signal=USR2@90
#SBATCH --time=60
#SBATCH --wckey=submitit

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output FOLDER/slurm/%A_%a_%t_log.out --error FOLDER/slurm/%A_%a_%t_log.err PYTHON -u -m submitit.core._submit FOLDER/slurm
